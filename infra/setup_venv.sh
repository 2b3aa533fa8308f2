#!/usr/bin/env bash
# Creates the virtual environment, empty, with a Python that fits. Idempotent.
#   VENV    its folder (default .venv)
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}

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
        say "needs Python 3.11 or 3.12 with the venv module: apt-get install python3 python3-venv"
        exit 1
    }
fi
say "creating $VENV with $("$python" --version)"
"$python" -m venv "$VENV"
