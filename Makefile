# Outrigger: what a developer runs. `make help` lists it. Builds and servers live in $OUTRIGGER_CACHE (~/.cache/outrigger),
# so that a second clone compiles nothing twice.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
ENV := . scripts/env;
CARGO := $(ENV) cargo
DEMO ?=
SECONDS ?= 60
DECODER ?=
FUZZED = $(if $(filter session,$(DECODER)),,-p outrigger-protocol) $(if $(filter-out session,$(DECODER)),,-p outrigger-proxy)

RUNS ?= 200
export RUNS JOBS OUTRIGGER_SEED OUTRIGGER_KEEP

.PHONY: help setup demo test soak lint doc fuzz

help: ## what can be made
	@awk -F':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing: compiler, libclang, MySQL, RocksDB (once per machine)
	@scripts/setup

demo: setup ## the main job on real servers: copy, replay, a crash in the middle, every row compared
	@$(CARGO) build --locked --release
	@$(ENV) "$$CARGO_TARGET_DIR/release/outrigger" demo $(DEMO)

test: setup ## all tests, against real servers
	@scripts/test

fuzz: setup ## damaged and invented bytes for every decoder and the proxy's sessions: SECONDS=3600 each, DECODER=json (or session) for one
	@$(ENV) OUTRIGGER_FUZZ_SECONDS=$(SECONDS) OUTRIGGER_FUZZ_DECODER=$(DECODER) cargo test --locked $(FUZZED) --test fuzz -- --nocapture

soak: setup ## seeded runs with kills, cut links and restarts over random writes: RUNS=200 JOBS=2 OUTRIGGER_SEED=7 OUTRIGGER_KEEP=1
	@$(CARGO) test --locked --features failpoints --test integration -- soak::many_seeds --exact --ignored --nocapture

lint: setup ## formatting, clippy and rustdoc, warnings are errors
	@cargo fmt --all -- --check
	@$(CARGO) clippy --locked --workspace --all-targets --features failpoints -- -D warnings
	@$(ENV) RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

doc: setup ## the code's documentation as HTML
	@$(CARGO) doc --locked --workspace --no-deps

bench-%: setup ## a benchmark beside its peer: bench-capture, bench-decode, bench-copy, bench-apply, bench-proxy, bench-guard
	@$(CARGO) build --locked --release --workspace
	@$(ENV) "$$CARGO_TARGET_DIR/release/outrigger-bench" $*
