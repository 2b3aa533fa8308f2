#!/bin/bash
# Starts the server on a copy of the prepared data directory; ends it when standard input ends, which happens
# when the process that owns the container closes it or dies.
# Standard input begins with the initial SQL (accounts), up to an empty line: no command line ever shows it.
set -eu
trap '' XFSZ # a file that grows too large is a failed write, not the server's end
mkdir -p /tmp/files /tmp/session
cp -r /opt/prepared/. /var/lib/mysql/
while IFS= read -r line && [ -n "$line" ]; do
    printf '%s\n' "$line"
done > /var/lib/mysql/initial.sql
exec 3<&0
mysqld --defaults-file=/etc/mysql/sandbox.cnf --init-file=/var/lib/mysql/initial.sql "$@" </dev/null &
server=$!
{ cat <&3 >/dev/null; kill -KILL "$server"; } &
wait "$server"
