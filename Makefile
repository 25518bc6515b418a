# `make help` lists what there is. What it installs goes into .venv* and tests/interop/node_modules.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:

# The interpreter of .venv: PYTHON=... if given, else the first that is new enough.
PYTHON ?=
# Arguments for pytest, as in: make test ARGS="-k refresh"; or for the benchmarks: --quick, say.
ARGS ?=
# How long `make soak` takes.
MINUTES := 10
# How many simulated worlds `make proof` tries.
WORLDS := 100000
# And how many simulated fleets.
FLEETS := 20000
# The tests that `make proof` runs longer than `make test` does, and where they say what they tried.
PROVING := tests/test_cancel_everywhere.py tests/faults tests/test_fuzz.py tests/test_state_machine.py \
	tests/test_schedules.py
proof: export PROOF_RECORD := $(CURDIR)/build/proof/record.jsonl
# The tests run in as many processes as there are processors. JOBS=0: in one, for a debugger, say.
JOBS ?= logical
# In several, tests of one group (`xdist_group`) come to the same process, one after the other.
PARALLEL := -n $(JOBS) --maxprocesses 8 --dist loadgroup
# What `make test-oldest` and `make test-3.12` leave out, because `make test` has found it on one
# Python and would find the same on the others: what looks for rare things with thousands of examples,
# what talks to node's server, kills a web application or lets clocks jump, and what tests the tests.
ONCE := $(addprefix --ignore=tests/, interop examples/sdks/test_web_app_killed.py test_broken.py test_challenge.py test_clock_sessions.py \
	test_fleet.py test_fleet_hosts.py test_fuzz.py test_mutate.py test_peers.py test_record.py test_run_notebooks.py \
	test_schedules.py test_simulation.py test_simulation_fleet.py test_soak.py test_state_machine.py)
# What the oldest versions can't do: the SDKs in examples/sdks want newer ones, and httpx2 2.0 loses
# slots by itself, which the benchmarks count.
NEWER := $(addprefix --ignore=tests/, examples/sdks test_benchmarks.py)
# For `make mutation`: which modules, and how many mutants of each. By default all.
FILES ?=
SAMPLE ?=
# What `make test-others` tries.
VERSIONS := 3.11 3.12 3.13

SOURCES := trioauth pytest_trioauth.py tests scripts docs notebooks $(wildcard benchmarks)
BIN := .venv/bin
# All pages, each time: a page left alone would keep its old warnings to itself.
BUILD_DOCS := $(BIN)/sphinx-build -E -q -W --keep-going -d build/doctrees docs build/docs
# What the installation is made from: when one of these changes, it is made again.
PROJECT := pyproject.toml trioauth/_version.py
# pyright, when it finds a newer release of itself, prints a notice. The version is ours to raise.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Or each of the hundreds of processes that the tests start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z%.-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environments -----------------------------------------------------------------------------

.venv/.made:
	scripts/make_venv.sh .venv "$$(scripts/find_python.sh any $(PYTHON))"

# Of its own, so that what is compared is never there when something is tested.
.venv-bench/.made:
	scripts/make_venv.sh .venv-bench "$$(scripts/find_python.sh any $(PYTHON))"

.venv-3.%/.made:
	scripts/make_venv.sh .venv-3.$* "$$(scripts/find_python.sh 3.$*)"

%/.demo: %/.made $(PROJECT)
	$*/bin/python -m pip install -qq --editable '.[testing]'
	touch $@

# Without the hundred megabytes of SDKs.
%/.quick: %/.made $(PROJECT)
	$*/bin/python -m pip install -qq --editable '.[testing]' --group test
	touch $@

%/.test: %/.made $(PROJECT)
	$*/bin/python -m pip install -qq --editable '.[testing]' --group test --group examples --group interop
	touch $@

%/.bench: %/.made $(PROJECT)
	$*/bin/python -m pip install -qq --editable '.[httpx2,jose,testing]' --group bench
	touch $@

%/.docs: %/.made $(PROJECT)
	$*/bin/python -m pip install -qq --editable '.[testing]' --group test --group docs
	touch $@

%/.check: %/.made $(PROJECT)
	$*/bin/python -m pip install -qq --editable '.[testing]' --group test --group examples \
		--group interop --group check --group docs
	touch $@

# With the oldest version of all that programs need: where it is found, on the oldest Python, too.
.venv-oldest/.made:
	scripts/make_venv.sh .venv-oldest "$$(scripts/find_python.sh 3.11 2>/dev/null || scripts/find_python.sh any)"

.venv-oldest/.test: .venv-oldest/.made $(PROJECT) scripts/oldest.py
	.venv-oldest/bin/python scripts/oldest.py >.venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install -qq --constraint .venv-oldest/constraints.txt \
		--editable '.[testing]' --group test
	touch $@

# What the tests of the stores talk to, on each Python and with the oldest versions, too.
.PHONY: servers
servers:
	@scripts/setup_programs.sh "the tests with a real keyring" "gnome-keyring dbus" \
		gnome-keyring-daemon dbus-run-session
	@scripts/setup_programs.sh "the tests of RedisStore on real servers" "redis-server iproute2" \
		redis-server redis-cli ip
	@scripts/setup_programs.sh "the test with kubectl" kubernetes-client kubectl

.PHONY: interop
interop: .venv/.made servers
	@scripts/setup_interop.sh
	@scripts/setup_programs.sh "the tests with clocks that jump" faketime faketime
	@scripts/setup_programs.sh "the tests with a browser" chromium \
		"chromium|chromium-browser|google-chrome"

# --- what to do with them ---------------------------------------------------------------------

.PHONY: demo
demo: .venv/.demo ## Run the demo: many tasks, one refresh
	@$(BIN)/python -m trioauth demo

.PHONY: test
test: .venv/.test interop ## Run the tests; every branch of the package must be covered
	@scripts/run_tests.sh .venv --covered $(PARALLEL) $(ARGS)

.PHONY: test-quick
test-quick: .venv/.quick ## Run the tests but for those that are marked `slow`, in less than a minute
	@scripts/run_tests.sh .venv $(PARALLEL) --ignore=tests/examples/sdks -m "not slow" $(ARGS)

test-3.%: .venv-3.%/.test servers ## Run on that Python the tests whose outcome may depend on it: make test-3.12
	@scripts/run_tests.sh .venv-3.$* $(PARALLEL) $(ONCE) $(ARGS)

.PHONY: test-others
test-others: .venv/.made ## Run `test-3.x` on every supported Python that is found and is not the one of `test`
	@scripts/test_others.sh $(VERSIONS)

.PHONY: test-all
test-all: test test-others ## Run `test` and `test-others`

.PHONY: test-oldest
test-oldest: .venv-oldest/.test servers ## Run most tests with the oldest trio, httpx, ... that pyproject.toml allows
	@scripts/run_tests.sh .venv-oldest $(PARALLEL) $(ONCE) $(NEWER) $(ARGS)

# Two at a time, all of them even if one fails, and what each of them says in one piece.
TWO_AT_A_TIME := $(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going

.PHONY: check
check: .venv/.check ## Run the linters, the type checkers and the checks of the documentation and the notebooks
	@SECONDS=0; $(TWO_AT_A_TIME) check-mypy check-types check-style check-notebooks check-pages; \
		echo "check: $$SECONDS s"

.PHONY: check-style
check-style: .venv/.check
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/flake8 $(SOURCES)
	scripts/check_workflows.sh $(BIN)
	$(BIN)/python scripts/check_changelog.py

.PHONY: check-mypy
check-mypy: .venv/.check
	$(BIN)/mypy

.PHONY: check-types
check-types: .venv/.check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/ty check --python .venv
	scripts/verify_types.sh $(BIN)/python

.PHONY: check-notebooks
check-notebooks: .venv/.check
	$(BIN)/python scripts/run_notebooks.py --check

.PHONY: check-pages
check-pages: .venv/.check
	$(BIN)/python scripts/draw_states.py --check
	$(BIN)/python scripts/draw_readme.py --check
	$(BIN)/python scripts/list_promises.py --check
	$(BIN)/python scripts/write_reference.py --check
	$(BIN)/python scripts/list_conformance.py --check
	$(BUILD_DOCS)

.PHONY: docs
docs: .venv/.docs ## Build the documentation: build/docs/index.html
	$(BUILD_DOCS)

.PHONY: reference
reference: .venv/.check ## Write the signatures and docstrings into docs/reference
	$(BIN)/python scripts/write_reference.py

.PHONY: check-consumers
check-consumers: .venv/.made ## Type check a program where trio-typing is installed
	scripts/check_consumers.sh $(BIN)/python

.PHONY: bench
bench: .venv-bench/.bench ## Measure what a session costs, against a fixed header and the peers
	.venv-bench/bin/python -m benchmarks $(ARGS)

.PHONY: notebooks
notebooks: .venv/.test ## Run the notebooks and save what comes out (ARGS=--fresh: pictures, too)
	$(BIN)/python scripts/run_notebooks.py $(ARGS)

.PHONY: proof
proof: .venv/.test interop ## Try to break every promise, for an hour; write the figures into docs/proof.md
	rm -rf build/proof
	mkdir -p build/proof
	PROOF=1 $(BIN)/python -m pytest -o faulthandler_timeout=0 $(PROVING)
	$(BIN)/python -m tests.simulation --seeds 0:$(WORLDS) --jobs 2 --json build/proof/worlds.json
	$(BIN)/python -m tests.simulation --fleet --seeds 0:$(FLEETS) --jobs 2
	$(BIN)/python -m tests.broken --worlds 2000
	$(BIN)/python -m tests.soak --minutes $(MINUTES)
	$(BIN)/python -m tests.fleet --json build/proof/fleet.json
	$(BIN)/python scripts/write_proof.py $(PROOF_RECORD) build/proof/worlds.json build/proof/fleet.json

.PHONY: soak
soak: .venv/.test ## Run sessions on real sockets while everything goes wrong: make soak MINUTES=480
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

.PHONY: fleet
fleet: .venv/.test ## Kill processes that share logins, for a minute on each store: what is lost, and had it to be?
	$(BIN)/python -m tests.fleet $(ARGS)

.PHONY: mutation
mutation: .venv/.test ## Break the package in small ways: do the tests notice? (FILES="_core/state _core/retry" SAMPLE=50)
	$(BIN)/python scripts/mutate.py $(FILES) $(if $(SAMPLE),--sample $(SAMPLE))

.PHONY: check-build
check-build: .venv/.check ## Build the sdist and the wheel, and try the wheel in a clean environment
	scripts/check_build.sh $(BIN)/python

.PHONY: format
format: .venv/.check ## Let ruff format the code and mend what it can
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: clean
clean: ## Remove everything that make has made
	rm -rf .venv .venv-* build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf tests/interop/node_modules
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
