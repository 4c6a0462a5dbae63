#!/bin/sh
# Builds the console's pages into one file that the program carries:  tools/web.sh FILE
# Needs node and npm. What was built before is used again while nothing in web/ has changed.
set -eu

out=$(realpath -m "$1")
tools=$(realpath "$(dirname "$0")")/pages
cd "$tools/../../web"
mkdir -p dist
exec 9>dist/lock
flock 9

archive=dist/console.pages
inputs="src public index.html docs.html pages.json package.json package-lock.json vite.config.ts tsconfig.json $tools"
# shellcheck disable=SC2086
if [ ! -s $archive ] || [ -n "$(find $inputs -newer $archive -print -quit)" ]; then
    if [ ! -d node_modules ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
        npm ci --no-audit --no-fund --loglevel=error || {
            echo "web.sh: the console's packages cannot be fetched; -DMOONGATE_CONSOLE=OFF builds without the console" >&2
            exit 1
        }
        touch node_modules/.package-lock.json
    fi
    npx vite build --logLevel warn
    version=$(node -p 'require("./package.json").config.scalar_version')
    node "$tools/scalar.mjs" "dist/site/assets/scalar-$version"
    node "$tools/pack.mjs" dist/site pages.json $archive
fi
cp $archive "$out"
