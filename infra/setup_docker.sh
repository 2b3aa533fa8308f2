#!/usr/bin/env bash
# Makes a Docker engine answer: ./infra/setup_docker.sh
# Does nothing where one does. Otherwise installs and starts one on Debian or Ubuntu, as root or through sudo.
set -euo pipefail

WAIT_SECONDS=60
LOG="${CYCLEQD_DOCKERD_LOG:-/var/log/dockerd.log}"

say() { printf 'docker: %s\n' "$*"; }
fail() { printf 'docker: %s\n' "$*" >&2; exit 1; }
answers() { command -v docker >/dev/null && timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

if version=$(answers); then
    say "the engine answers (version $version)"
    exit 0
fi
if [ -n "${DOCKER_HOST:-}" ]; then
    fail "no engine answers at DOCKER_HOST=$DOCKER_HOST: start it there, or unset DOCKER_HOST"
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    as_root=(false)
fi
root_version() { "${as_root[@]}" timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }
no_access="an engine runs, but user $(id -un) may not use it. Run:  sudo usermod -aG docker $(id -un)
        then log in again (or:  newgrp docker)"

if [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ] && pidof dockerd >/dev/null; then
    fail "$no_access"
fi
if [ "${as_root[0]:-}" = false ]; then
    fail "no engine answers, and installing or starting one takes root. As root, run:
        apt-get install docker.io && systemctl start docker && usermod -aG docker $(id -un)
        On a desktop, Docker Desktop or Colima does as well; see https://docs.docker.com/engine/install/"
fi

if ! command -v dockerd >/dev/null && [ ! -x /usr/sbin/dockerd ]; then
    command -v apt-get >/dev/null || fail "no Docker engine, and this is neither Debian nor Ubuntu:
        install one by hand (https://docs.docker.com/engine/install/), then run this again"
    say "installing docker.io with apt-get (about a minute)"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        docker.io iptables ca-certificates >/dev/null
fi

if ! pidof dockerd >/dev/null; then
    if [ -d /run/systemd/system ]; then
        say "starting the engine (systemctl)"
        "${as_root[@]}" systemctl start docker
    elif { service_out=$("${as_root[@]}" service docker start 2>&1) && sleep 2 && pidof dockerd >/dev/null; }; then
        say "started the engine (service)"
    else
        say "no init system: starting dockerd in the background, its log is $LOG"
        "${as_root[@]}" rm -f /var/run/docker.pid
        # The shell as root opens the log; setsid keeps the engine when this script's terminal closes.
        "${as_root[@]}" sh -c 'PATH="$PATH:/usr/sbin:/sbin" setsid dockerd >>"$1" 2>&1 </dev/null &' sh "$LOG"
    fi
fi

say "waiting for the engine (up to $WAIT_SECONDS s)"
for ((second = 0; second < WAIT_SECONDS; second++)); do
    if version=$(answers); then
        say "the engine answers (version $version)"
        exit 0
    fi
    # It may have come up between the two questions.
    if root_version >/dev/null && ! answers >/dev/null; then
        fail "$no_access"
    fi
    sleep 1
done
[ -n "${service_out:-}" ] && printf '%s\n' "$service_out" >&2
[ -r "$LOG" ] && tail -n 20 "$LOG" >&2
fail "the engine did not answer within $WAIT_SECONDS s; see the messages above, or 'journalctl -u docker'"
