#!/usr/bin/env bash
# Creates the virtual environment, empty, with a Python that fits. Idempotent.
#   VENV    its folder (default .venv)
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}
NAMES=(python3.11 python3.12 python3)

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }

find_python() {
    local name
    for name in "${NAMES[@]}"; do
        if command -v "$name" > /dev/null && "$name" -c \
            'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2> /dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

explain() {
    local name version found="" unfinished=""
    for name in "${NAMES[@]}"; do
        command -v "$name" > /dev/null || continue
        version=$("$name" --version)
        found+="${found:+, }$version ($(command -v "$name"))"
        case $version in "Python 3.11."* | "Python 3.12."*) unfinished=yes ;; esac
    done
    say "needs Python 3.11 or 3.12 with the venv module; found ${found:-none}"
    if [ "$unfinished" ]; then
        say "the venv module is missing: apt-get install python3-venv, as root"
        return
    fi
    say "Debian 12 and Ubuntu 24.04 have one: apt-get install python3 python3-venv, as root"
    say "elsewhere put one on the PATH, e.g. uv python install 3.12 (or pyenv), as python3.12, and run this again"
}

if [ -x "$VENV/bin/python" ]; then
    exit 0
fi
if ! python=$(find_python); then
    if command -v apt-get > /dev/null && [ "$(id -u)" = 0 ]; then
        say "installing Python with apt-get"
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3 python3-venv
    fi
    python=$(find_python) || {
        explain
        exit 1
    }
fi
say "creating $VENV with $("$python" --version)"
"$python" -m venv "$VENV"
