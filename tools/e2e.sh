#!/bin/sh
# Runs the end-to-end suite against one program: tools/e2e.sh build/moongate
set -eu
program=$(realpath "$1")
cd "$(dirname "$0")/../tests/e2e"
if [ ! -d node_modules ] || [ package.json -nt node_modules ]; then
    npm install --no-audit --no-fund --loglevel=error
    touch node_modules
fi
# One file after the other where this Node knows how to say it (20.10 and later).
serial=""
if node --help | grep -q -- --test-concurrency; then serial=--test-concurrency=1; fi
echo "end-to-end tests against $1"
MOONGATE=$program exec node --test $serial ./*.test.mjs
