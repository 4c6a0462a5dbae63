#!/bin/sh
# `make bench`: builds what measures, then measures and prints tables.
#
#   bench/run.sh [--quick] [--only NAMES] [--json FILE] [--gguf FILE] [--llama-bench PATH]
#
# MOONGATE_BUILD names another build folder than ./build.
set -eu
cd "$(dirname "$0")/.."
build=${MOONGATE_BUILD:-build}
[ -f "$build/build.ninja" ] ||
    cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DMOONGATE_TESTS=OFF >/dev/null
cmake --build "$build" --target moongate bench_client bench_kernels \
    bench_upstream bench_streams bench_store bench_fill >/dev/null
exec python3 bench/bench.py --build "$build" "$@"
