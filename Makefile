# Everything that a developer calls. `make` alone lists it.

CARGO ?= cargo
# For example CARGO_FLAGS=--locked.
CARGO_FLAGS ?=
# The build profile of `run` and `run-standard`: dev or release.
PROFILE ?= dev
# What comes after `--` on the command line of the gateway, of the tests, of the benchmark or of the torture.
ARGS ?=
# How long `soak` lasts on each edition, and `fuzz` for each target.
MINUTES ?= 60
FUZZ_SECONDS ?= 60
# Whether somebody else sees to the lints, as .ci/run does.
LINTED ?=
# Where `run-standard` keeps its database.
POSTGRES_DATA ?= .goclaw/postgres

# A private PostgreSQL for the command that follows, unless there is one already.
TEST_POSTGRES = $(if $(GOCLAW_TEST_POSTGRES_DSN),,scripts/with-postgres.sh)
# For measuring, it writes as durably as it would in earnest.
BENCH_POSTGRES = $(if $(GOCLAW_TEST_POSTGRES_DSN),,scripts/with-postgres.sh -c fsync=on -c synchronous_commit=on -c full_page_writes=on)
RUN_POSTGRES = $(if $(GOCLAW_POSTGRES_DSN),,scripts/with-postgres.sh --data $(POSTGRES_DATA))
BUILD_PROFILE = $(if $(filter release,$(PROFILE)),--release,--profile $(PROFILE))

DEBUG_BINARIES = $(abspath $(or $(CARGO_TARGET_DIR),target))/debug

.DEFAULT_GOAL := help
.PHONY: help run run-standard build test bench soak torture fuzz fuzz-api crates fmt lint deny openapi docker

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  make run PROFILE=release, make test ARGS=name_of_a_test, make run ARGS="doctor"'
	@echo '  make torture ARGS="kill vanish --rounds 20 --edition lite --seed 7 --json"'

run: ## Build the gateway and start it: edition lite, SQLite in ~/.goclaw/data
	@GOCLAW_EDITION=lite GOCLAW_STORAGE_BACKEND=sqlite $(CARGO) run $(CARGO_FLAGS) $(BUILD_PROFILE) -p goclaw -- $(ARGS)

run-standard: .goclaw/encryption.key .goclaw/gateway.token ## Build and start the edition standard with a private PostgreSQL
	@$(CARGO) build $(CARGO_FLAGS) $(BUILD_PROFILE) -p goclaw
	@echo 'The gateway token is in .goclaw/gateway.token, the database in $(POSTGRES_DATA).'
	@GOCLAW_EDITION=standard GOCLAW_AUTO_UPGRADE=true \
	GOCLAW_HOST="$${GOCLAW_HOST:-127.0.0.1}" \
	GOCLAW_DATA_DIR="$${GOCLAW_DATA_DIR:-$(CURDIR)/.goclaw/data}" \
	GOCLAW_WORKSPACE="$${GOCLAW_WORKSPACE:-$(CURDIR)/.goclaw/workspace}" \
	GOCLAW_ENCRYPTION_KEY="$${GOCLAW_ENCRYPTION_KEY:-$$(cat .goclaw/encryption.key)}" \
	GOCLAW_GATEWAY_TOKEN="$${GOCLAW_GATEWAY_TOKEN:-$$(cat .goclaw/gateway.token)}" \
	$(RUN_POSTGRES) env -u GOCLAW_TEST_POSTGRES_DSN $(CARGO) run $(CARGO_FLAGS) $(BUILD_PROFILE) -p goclaw -- $(ARGS)

# Made once, readable by their owner only. Whoever loses the key loses what was sealed with it.
.goclaw/encryption.key:
	@mkdir -p -m 755 .goclaw
	@(umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >$@)

.goclaw/gateway.token:
	@mkdir -p -m 755 .goclaw
	@(umask 077 && od -An -v -tx1 -N16 /dev/urandom | tr -d ' \n' >$@)

build: ## Build the binary that is shipped: target/release/goclaw
	$(CARGO) build $(CARGO_FLAGS) --release -p goclaw

# The binaries are built with the tests, so that they have the same features: otherwise all that depends on them is built twice.
test: $(if $(LINTED),,lint) ## Check format and lints, then run every test on both editions
	$(CARGO) build $(CARGO_FLAGS) --workspace --all-targets
	$(TEST_POSTGRES) $(CARGO) test $(CARGO_FLAGS) --workspace -- $(ARGS)

fuzz-api: ## Let schemathesis loose on both editions (ARGS="--help" lists what can be set)
	$(CARGO) build $(CARGO_FLAGS) --workspace --bins
	GOCLAW_TEST_BINARY=$(DEBUG_BINARIES)/goclaw $(TEST_POSTGRES) $(DEBUG_BINARIES)/fuzz_api $(ARGS)

bench: ## Measure the shipped binary on both editions and print a table
	$(CARGO) build $(CARGO_FLAGS) --profile release -p goclaw
	$(BENCH_POSTGRES) $(CARGO) run $(CARGO_FLAGS) --release -p goclaw-tests --bin bench -- $(ARGS)

soak: ## Measure memory under mixed load for MINUTES (60) on each edition, and plot it
	@$(MAKE) bench ARGS="--soak $(MINUTES) soak $(ARGS)"

fuzz: ## Fuzz each target for FUZZ_SECONDS (60): see fuzz/README.md
	scripts/fuzz.sh --seconds $(FUZZ_SECONDS) $(ARGS)

crates: ## Report how many crates there are, and what takes how long to compile
	@echo "$$($(CARGO) tree --locked -p goclaw -e normal --prefix none --format '{p}' | sed 's/ (\*)$$//' | sort -u | wc -l) crates in the binary," \
	"$$($(CARGO) tree --locked --workspace --prefix none --format '{p}' | sed 's/ (\*)$$//' | sort -u | wc -l) with build scripts, macros and tests;" \
	"$$($(CARGO) tree --locked -p goclaw -e normal --duplicates --depth 0 --prefix none --format '{p}' | sed 's/ (\*)$$//' | grep -v '^$$' | sort -u | sed 's/ .*//' | uniq -d | wc -l) in more than one version"
	$(CARGO) build $(CARGO_FLAGS) --timings --release -p goclaw --target-dir target/crates
	@echo 'The times are in target/crates/cargo-timings/cargo-timing.html.'

torture: ## Attack the gateway on both editions: kills, databases, disks, clients, clocks, models (docs/torture.md)
	$(CARGO) build $(CARGO_FLAGS) --workspace --bins
	$(BENCH_POSTGRES) $(DEBUG_BINARIES)/torture $(ARGS)
	$(if $(ARGS),,@$(MAKE) fuzz-api)

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Check format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

deny: ## Check licences, banned crates and sources of the dependencies, and whether each is used
	@for tool in deny machete; do command -v cargo-$$tool >/dev/null || { echo "cargo-$$tool is missing: cargo install --locked cargo-$$tool" >&2; exit 1; }; done
	$(CARGO) deny --all-features check licenses bans sources
	$(CARGO) machete

openapi: ## Write docs/openapi.json anew and say what changed
	@before=$$(mktemp) && trap 'rm -f "$$before"' EXIT && { cp docs/openapi.json "$$before" 2>/dev/null || true; } && \
	UPDATE_OPENAPI=1 $(CARGO) test $(CARGO_FLAGS) --workspace openapi && \
	if cmp -s "$$before" docs/openapi.json; then echo 'docs/openapi.json was current.'; \
	else diff -u "$$before" docs/openapi.json; echo 'docs/openapi.json was written.'; fi

docker: ## Build the container image goclaw:latest
	docker build -t goclaw:latest .
