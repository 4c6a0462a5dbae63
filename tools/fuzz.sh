#!/bin/sh
# Fuzzes every target for so many seconds each: tools/fuzz.sh 60
# New inputs go to build-fuzz/corpus/NAME; a crash is left in build-fuzz/ and fails the run. An
# input that found a bug belongs into tests/fuzz/corpus/NAME, where `make test` replays it.
set -eu
seconds=$1
cd "$(dirname "$0")/.."
cmake -G Ninja -S . -B build-fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DMOONGATE_FUZZ=ON -DMOONGATE_TESTS=OFF >/dev/null
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    cmake --build build-fuzz --target "$name" -- --quiet
    seeds=tests/fuzz/corpus/${name#fuzz_}
    work=build-fuzz/corpus/${name#fuzz_}
    mkdir -p "$work" "$seeds"
    echo "$name: $seconds s"
    "build-fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -print_final_stats=1 -verbosity=0 -artifact_prefix="build-fuzz/$name-" "$work" "$seeds" \
        2>&1 | grep -E 'stat::number_of_executed_units|ERROR|SUMMARY|Test unit' || true
    if ls "build-fuzz/$name-"crash* "build-fuzz/$name-"timeout* "build-fuzz/$name-"oom* \
        >/dev/null 2>&1; then
        echo "$name found something: build-fuzz/$name-*" >&2
        exit 1
    fi
done
echo "no target found anything"
