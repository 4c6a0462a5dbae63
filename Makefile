# The front door. Each target does its own set-up on Debian 12 (as root, or with sudo).
#
#   make run      build, start on 127.0.0.1:8080, print an address, a key and a curl line
#   make test     unit tests under sanitizers, end-to-end tests against both builds and on each
#                 store: SQLite, PostgreSQL, two replicas; the console in Chromium
#   make faults   the disk fails at each of its writes in turn (about ten minutes)
#   make check    format, arrows between rooms, banned functions, warnings with gcc and clang
#   make bench    measure; prints tables with the machine's name
#   make soak     faults at random for SOAK_SECONDS=600; checks memory, descriptors, books
#   make screenshots  pictures of the console's pages, into docs/screenshots
#   make fuzz     fuzz every target (FUZZ_SECONDS=60 each)
#   make format   clang-format over the tree
#   make install  program, systemd unit, example configuration into PREFIX (default /usr/local)

PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600
CMAKE = cmake -G Ninja -S .

.PHONY: run build test unit e2e check bench soak fuzz format install clean

build:
	@tools/deps.sh build
	@$(CMAKE) -B build -DCMAKE_BUILD_TYPE=Release -DMOONGATE_TESTS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@cmake --build build -j $(JOBS)

run: build
	@tools/run.sh

build-asan:
	@tools/deps.sh build test
	@$(CMAKE) -B build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DMOONGATE_SANITIZE=ON >/dev/null
	@cmake --build build-asan -j $(JOBS)
.PHONY: build-asan

unit: build-asan
	@ctest --test-dir build-asan --output-on-failure -j $(JOBS)

e2e: build
	@tools/deps.sh test
	@tools/e2e.sh build/moongate

browser: build
	@tools/deps.sh test browser snippets
	@tools/browser.sh build/moongate
.PHONY: browser

# The disk fails at samples of its writes here, and at every one in `make faults`.
test: unit build
	@MOONGATE_TEST_STRIDE=7 tools/e2e.sh build/moongate sqlite
	@tools/e2e.sh build/moongate postgres
	@tools/e2e.sh build/moongate replicas
	@MOONGATE_TEST_CUTS=8 MOONGATE_TEST_STRIDE=17 tools/e2e.sh build-asan/moongate sqlite
	@tools/deps.sh browser snippets
	@tools/browser.sh build/moongate

faults: build
	@tools/deps.sh test
	@tools/e2e.sh build/moongate sqlite disk-faults.test.mjs power-cut.test.mjs
.PHONY: faults

check:
	@tools/deps.sh build check
	@tools/check.sh

bench: build
	@tools/deps.sh bench
	@bench/run.sh

soak: build
	@tools/deps.sh soak
	@python3 bench/soak.py --seconds $(SOAK_SECONDS)

screenshots: build
	@tools/deps.sh test browser
	@for folder in e2e browser; do (cd tests/$$folder && npm ci --loglevel=error) || exit; done
	@node tools/screenshots.mjs
.PHONY: screenshots

fuzz:
	@tools/deps.sh build check
	@tools/fuzz.sh $(FUZZ_SECONDS)

format:
	@tools/deps.sh check
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: build
	@cmake --install build

clean:
	rm -rf build build-asan build-fuzz build-check
