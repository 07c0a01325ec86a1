# SPDX-License-Identifier: Apache-2.0
# The two to know: make run, make test. Both do all set-up first. Everything else: make help.

MAKEFLAGS += --no-print-directory
override PROMPT := $(value PROMPT)
override MODEL := $(value MODEL)
PREFIX ?= /usr/local
export PROMPT MODEL DESTDIR
.PHONY: run test chat install help setup build format tidy asan tsan slow-test bench-peers golden
.PHONY: train-vlm reproduce-presses reproduce-vision clean

run: build ## start the server; PROMPT="..." for one answer instead, MODEL=file.gguf for another model
	@if [ -n "$$PROMPT" ]; then exec build/release/fastcache run $${MODEL:+-m "$$MODEL"} -p "$$PROMPT"; \
	else exec build/release/fastcache serve $${MODEL:+-m "$$MODEL"}; fi

test: build ## all set-up, then the fast tests
	@ctest --preset release

chat: build ## chat on the terminal; MODEL=file.gguf for another model
	@build/release/fastcache run $${MODEL:+-m "$$MODEL"}

# Not rebuilt: with sudo that would use root's cache.
install: $(if $(wildcard build/release/fastcache),,build) ## below PREFIX=/usr/local: program, completion, systemd example; DESTDIR=
	@cmake --install build/release --prefix "$(PREFIX)"

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: ## system packages, libllama, the embedded model and its eyes
	@scripts/setup

build: setup ## build/release/fastcache and all tests
	@scripts/build release >&2

format: ## format our files in place
	@scripts/setup --dev
	@scripts/format

tidy: build ## clang-tidy over all of src/
	@scripts/setup --dev
	@scripts/tidy

asan: setup ## fast tests with the address and undefined-behaviour sanitizers
	@scripts/build asan >&2
	@ctest --preset asan

tsan: setup ## fast tests with the thread sanitizer (builds another libllama the first time)
	@scripts/build tsan >&2
	@ctest --preset tsan

slow-test: build ## the slow tests
	@ctest --preset slow

bench-peers: build ## compare with other programs on this machine
	@tools/peers/run
	@tools/peers/serving
	@tools/peers/pictures

golden: ## remake what kvpress answers, for the tests of presses (3 GB of downloads the first time)
	@tools/golden/run

train-vlm: setup ## train the embedded vision-language model; goes on where it stopped (hours without a GPU)
	@tools/train_vlm/run

reproduce-presses: build ## the measurement behind docs/results-presses.md at full size (plan an hour): build/presses.{json,html,md}
	@build/release/fastcache eval --json build/presses.json --html build/presses.html --markdown build/presses.md

reproduce-vision: build ## the measurement behind docs/results-vision.md (plan two hours): build/vision/
	@tools/peers/picture_quality

clean: ## remove build/; the per-user cache stays
	@rm -rf build
