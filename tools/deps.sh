#!/bin/sh
# Installs what is missing for the named purposes (build test browser snippets check bench soak)
# from Debian's packages; says nothing when all is there.
set -eu

build="gcc cmake ninja-build pkg-config curl ca-certificates libcurl4-openssl-dev libevent-dev libhiredis-dev libpcre2-dev libpq-dev libsodium-dev libsqlite3-dev libssl-dev libyaml-dev"
test="libcmocka-dev nginx-light openssl postgresql redis-server sqlite3"
check="clang clang-format libclang-rt-14-dev libcmocka-dev git python3"
bench="wrk nginx-light postgresql python3"
browser="chromium fonts-noto-cjk"
snippets="php-cli php-curl python3 python3-venv"

# The console's pages are built with Node.js, from wherever it comes.
node=""
command -v node >/dev/null || node="nodejs"
command -v npm >/dev/null || node="$node npm"

want=""
for purpose in "$@"; do
    case $purpose in
    build) want="$want $build $node" ;;
    test) want="$want $test $node" ;;
    browser) want="$want $browser $node" ;;
    snippets) want="$want $snippets" ;;
    check) want="$want $check" ;;
    bench) want="$want $bench" ;;
    soak) want="$want python3" ;;
    *) echo "deps.sh: no such purpose: $purpose" >&2; exit 2 ;;
    esac
done

missing=""
for package in $want; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
    *"ok installed"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "These packages are missing; install them as root:$missing" >&2
        exit 1
    }
    as_root=sudo
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
