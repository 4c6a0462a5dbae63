#!/bin/sh
# `make check`: everything about the tree that needs no running program. Says what it looks at;
# goes on after a finding, so that one run shows them all, and fails if there was one.
#   tools/check.sh [format] [rules] [headers] [gcc] [clang]    (default: all)
set -u
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
failed=""

sources() {
    git ls-files -co --exclude-standard '*.c' '*.h' | while read -r f; do
        if [ -f "$f" ]; then echo "$f"; fi
    done
}

check_format() {
    echo "format: clang-format agrees with every C file"
    sources | xargs clang-format --dry-run -Werror
}

check_rules() {
    python3 tools/rules.py
}

# A header brings what it needs, whoever includes it first. Not kernels_wide.h: that is the body
# of several files, each of which defines its vectors before.
check_headers() {
    echo "headers: each compiles alone"
    flags="-std=gnu17 -D_GNU_SOURCE -Isrc $(pkg-config --cflags libpq) -Wall -Wextra -Werror -fsyntax-only -x c"
    sources | grep '^src/.*\.h$' | grep -v kernels_wide | sed 's:^src/::' | {
        rc=0
        while read -r header; do
            # shellcheck disable=SC2086
            echo "#include \"$header\"" | gcc $flags - || {
                echo "src/$header: does not compile alone"
                rc=1
            }
        done
        exit $rc
    }
}

# The whole tree, tests and fuzz targets with it; warnings are errors.
compile() {
    echo "$1: the whole tree compiles without a warning"
    cmake -G Ninja -S . -B "build-check/$1" -DCMAKE_C_COMPILER="$1" \
        -DCMAKE_BUILD_TYPE="$2" >/dev/null &&
        cmake --build "build-check/$1" -j "$jobs" -- --quiet -k 0
}

[ $# -gt 0 ] || set -- format rules headers gcc clang
for name in "$@"; do
    case $name in
    format) check_format ;;
    rules) check_rules ;;
    headers) check_headers ;;
    gcc) compile gcc Release ;;   # with the optimiser, which some warnings need
    clang) compile clang Debug ;;
    *)
        echo "check.sh: no such check: $name" >&2
        exit 2
        ;;
    esac || failed="$failed $name"
done
if [ -n "$failed" ]; then
    echo "check: FAILED:$failed"
    exit 1
fi
echo "check: good"
