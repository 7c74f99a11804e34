# Two commands are enough: `make demo` and `make test`, on a fresh Debian machine as root. Both install or build what is missing,
# say what they do, and can be run again.
SHELL := /bin/bash
CACHE ?= $(or $(PGREEVE_CACHE),/var/cache/pgreeve)
export PGREEVE_CACHE := $(CACHE)
# A cargo that hack/tools.sh had to install stands in one of these.
export PATH := $(PATH):$(HOME)/.cargo/bin:$(CACHE)/bin

# Tests wait half of their time, for watches, backoffs and timeouts.
THREADS ?= $(shell echo $$((2 * $$(nproc))))

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s'|'

.PHONY: demo
demo: ## Show pgreeve at work on a real one-node cluster (again and again)
	hack/demo.sh up

.PHONY: demo-down
demo-down: ## Remove everything that the demo brought up
	hack/demo.sh down

.PHONY: install
install: PREFIX ?= /usr/local
install: ## Install pgreeve and kubectl-pgreeve into $(PREFIX)/bin, /usr/local/bin by default
	hack/tools.sh rust
	cargo build --release --locked --bin pgreeve
	install -D -m 755 target/release/pgreeve $(DESTDIR)$(PREFIX)/bin/pgreeve
	ln -sf pgreeve $(DESTDIR)$(PREFIX)/bin/kubectl-pgreeve

.PHONY: test
test: tools lint unit integration chart cluster ## Run everything that CI runs

.PHONY: tools
tools: ## Install or build the programs that the tests need, into $(CACHE)
	hack/tools.sh rust
	hack/tools.sh postgres apiserver cluster helm kstatus promtool pgbouncer pgpartman pgprograms versitygw azurite duckdb lint deny

.PHONY: lint
lint: ## Formatting, clippy, the pure part by itself, dependencies, shell scripts
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo check --no-default-features --locked
	cargo fetch --locked # crates of other platforms too: cargo-deny asks for all of them
	cargo deny --offline check --hide-inclusion-graph bans licenses sources
	git ls-files '*.sh' '.ci/run' | xargs shellcheck

.PHONY: unit
unit: ## Tests of the library; that its pure part needs nothing else, lint has checked
	cargo test --lib --locked

.PHONY: integration
integration: ## Tests against real PostgreSQL 14 to 18 and a real API server, and the fault harness
	hack/in-memory.sh cargo test --locked --test '*' -- --test-threads=$(THREADS)

.PHONY: chart
chart: ## Tests of the Helm chart, its alerts and its documentation
	tests/chart/run.sh

.PHONY: cluster
cluster: ## The demo on a cluster of its own, checked step by step
	tests/cluster/run.sh

.PHONY: update
update: ## Write the generated files anew: CRDs, reference pages, snapshots
	PGREEVE_UPDATE=1 cargo test --locked --test cli
	@git status --short

.PHONY: bench
bench: ## Measure against peers and physical limits; prints the tables of docs/benchmarks.md
	hack/bench.sh
