#!/usr/bin/env bash
# Offers the Prefect server a PostgreSQL: ./infra/setup_postgres.sh
# Installs the distribution's package where that is possible. Never fails: without it the server uses SQLite.
set -euo pipefail

if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null; then
    exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    printf 'postgres: installing postgresql with apt-get\n'
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null ||
        printf 'postgres: could not be installed\n' >&2
else
    printf 'postgres: not installed; as root: apt-get install postgresql\n' >&2
fi
