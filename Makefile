# What one does often. `make` alone lists it. The work is in scripts/.
.DEFAULT_GOAL := help
.PHONY: help up down check test soak build install uninstall image bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## everything, from nothing to a line for an MCP client; Ctrl-C ends it
	@scripts/up.sh

down: ## stops `make up` and removes its containers; manifests and volumes stay
	@scripts/down.sh

check: ## what needs no engine and no test: format, lints, licences, shell scripts
	@scripts/check.sh

test: ## everything that CI runs; installs what it needs and says so first
	@scripts/test.sh

soak: ## for longer: kill -9, power cuts, an engine that restarts and hangs, a full disk, sources that move
	@INSTANCED_SIM_CASES=500000 cargo test --locked --profile simulation --test simulation every_case
	@INSTANCED_SOAK=long cargo test --locked --lib daemon::tokens::kills
	@INSTANCED_SOAK=long scripts/test.sh soak machine

build: ## the release binary
	@cargo build --release --locked

install: ## what `make build` made, with manual, completions and systemd units; PREFIX, DESTDIR
	@scripts/install.sh install

uninstall: ## takes that away again; state and configuration stay
	@scripts/install.sh uninstall

image: ## the browser instance's image
	@image/build.sh

bench: ## the figures that are promised, beside their limits
	@scripts/bench.sh
