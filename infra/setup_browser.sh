#!/usr/bin/env bash
# Makes sure that a Chromium for the browser tests is there: ./infra/setup_browser.sh
# Playwright brings its own elsewhere; the distribution's works with the same Python package.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        printf 'browser: %s\n' "$(command -v "$name")"
        exit 0
    fi
done
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    printf 'browser: installing chromium with apt-get\n'
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    printf 'browser: no Chromium; install it as root: apt-get install chromium\n' >&2
    exit 1
fi
