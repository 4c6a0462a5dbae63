#!/bin/sh
# Runs the tests of the console in Debian's Chromium against one program:
#   tools/browser.sh build/moongate [FILE...]
#
# They stand on the end-to-end tests' library. The Python snippets get a virtual environment; a
# language that is not on this machine is skipped, and said so. BROWSER_SHOTS names a folder for
# pictures of what a failing test saw.
set -eu
program=$(realpath "$1")
shown=$1
shift
cd "$(dirname "$0")/../tests/browser"

installed() { [ -d node_modules ] && [ node_modules/.package-lock.json -nt package-lock.json ]; }
for folder in ../e2e .; do
    (cd $folder && { installed || { npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json; }; })
done
if [ ! -e venv/made ] || [ requirements.txt -nt venv/made ]; then
    rm -rf venv
    if python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt; then
        touch venv/made
    else
        echo "browser.sh: without python3-venv and its packages the Python snippets are not run" >&2
    fi
fi

# Two files at once where this Node knows how to say it (20.10 and later).
pairs=""
if node --help | grep -q -- --test-concurrency; then pairs=--test-concurrency=2; fi
[ $# -gt 0 ] || set -- *.test.mjs
echo "browser tests against $shown"
MOONGATE=$program MOONGATE_TEST_STORE=sqlite exec node --test $pairs "$@"
