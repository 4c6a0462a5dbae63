#!/bin/sh
# Runs the end-to-end suite against one program: tools/e2e.sh build/moongate [STORE] [FILE...]
#
# STORE is sqlite (the default), postgres, or replicas: two processes that share a PostgreSQL,
# behind one address. The PostgreSQL is the run's own: it is made here and is gone at the end.
set -eu
program=$(realpath "$1")
store=${2:-sqlite}
shown=$1
shift
[ $# = 0 ] || shift
tools=$(realpath "$(dirname "$0")")
cd "$tools/../tests/e2e"
if [ ! -d node_modules ] || [ package.json -nt node_modules ]; then
    npm install --no-audit --no-fund --loglevel=error
    touch node_modules
fi
# One file after the other where this Node knows how to say it (20.10 and later).
serial=""
if node --help | grep -q -- --test-concurrency; then serial=--test-concurrency=1; fi
[ $# -gt 0 ] || set -- $(node lib/stores.mjs "$store")

if [ "$store" != sqlite ]; then
    cluster=$(mktemp -d "${TMPDIR:-/tmp}/moongate-pg-XXXXXX")
    trap '"$tools/postgres.sh" remove "$cluster"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    "$tools/postgres.sh" start "$cluster"
    export MOONGATE_TEST_POSTGRES="$cluster"
fi
echo "end-to-end tests against $shown on $store"
MOONGATE=$program MOONGATE_TEST_STORE=$store node --test $serial "$@"
