# Every target sets up what it needs, once; `make help` lists them.
# Variables become flags of the same name: make run DATA=candles.parquet SPEED=60 SCANS=3

PY ?= python3
TEST_WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
UV := $(shell command -v uv 2>/dev/null)

flag = $(if $($(1)),--$(2) "$($(1))")
RUN_FLAGS = --page $(call flag,VENUE,venue) $(call flag,DATA,data) $(call flag,START,start) \
  $(call flag,SPEED,speed) $(call flag,SCANS,scans) $(call flag,SYMBOLS,symbols) $(call flag,SEED,seed)
SIM_FLAGS = $(call flag,DAYS,days) $(call flag,SEED,seed)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test test-long check fix sim bench golden conformance chaos soak mutants docs lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## install the program into .venv (hashed versions only), compile its kernels

setup-dev: $(READY_DEV) ## the same with what tests and checks need

run: $(READY) ## watch, score and explain the market (DATA START VENUE SPEED SCANS SYMBOLS SEED)
	@exec $(BIN)/cryptosignal run $(strip $(RUN_FLAGS))

test: $(READY_DEV) ## the short profiles of everything
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadfile -m "not long"

test-long: $(READY_DEV) ## the campaign's own seeds and incidents, which take minutes
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) -m long

check: $(READY_DEV) ## static: ruff, mypy --strict, import contracts, the style of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/python -m tests.laws.tidy

fix: $(READY_DEV) ## let ruff repair and format what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sim: $(READY) ## the whole program in simulated time, with faults (DAYS SEED)
	@exec $(BIN)/cryptosignal sim $(strip $(SIM_FLAGS))

bench: $(READY_DEV) ## the tables of speed and memory
	@[ -f benchmarks/__main__.py ] || { echo "make bench: there are no benchmarks yet" >&2; exit 1; }
	@exec $(BIN)/python -m benchmarks

golden: $(READY_DEV) ## record the golden journal anew (when decisions were meant to change)
	@$(BIN)/python -m tests.replay.record

docs: $(READY_DEV) ## write the pages of keys and commands, check all documents
	$(BIN)/python docs/reference.py
	$(BIN)/python -m pytest -q tests/laws/test_papers.py tests/modes/test_reference.py

conformance: $(READY) ## a scripted day of third-party clients against the simulated venue
	@exec $(BIN)/python conformance/run.py

chaos: $(READY_DEV) ## real processes in a storm, killed and starved (DURATION seconds, SEED)
	@exec $(BIN)/python -m tests.chaos $(call flag,DURATION,duration) $(call flag,SEED,seed)

soak: $(READY_DEV) ## a day of market data at storm in virtual time, and each network fault alone (HOURS SYMBOLS SEED)
	@exec $(BIN)/python -m tests.net_feed.prove $(strip $(call flag,HOURS,hours) $(call flag,SYMBOLS,symbols) $(call flag,SEED,seed))

mutants: $(READY_DEV) ## planted bugs that the simulated campaign must catch (ROWS=3,10-14,20- DAYS JSON=1)
	@exec $(BIN)/python -m tests.sim_campaign.hunt $(strip $(call flag,ROWS,rows) $(call flag,DAYS,days) $(if $(JSON),--json))

lock: ## resolve the versions anew (needs uv)
	@[ -n "$(UV)" ] || { echo "make lock: needs uv" >&2; exit 1; }
	$(LOCK) $(EXTRAS) -o requirements.lock pyproject.toml
	$(LOCK) $(EXTRAS) --extra proxy --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean: ## remove .venv and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

EXTRAS := --extra web --extra research --extra fast --extra notify --extra editable
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command "make lock"

# ---- setting up -------------------------------------------------------------------------------
# Only versions and hashes of the lock file are installed; the project itself goes in in place.

ifdef UV
INSTALL = uv pip install --quiet --python $(BIN)/python
else
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

# Compiles the kernels, once; where that fails the set-up stands, numpy answers as well.
REHEARSE = $(BIN)/python -m cryptosignal.modes.rehearsal

$(MADE):
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "needs Python 3.11 or newer as $(PY) (choose another: make PY=python3.12)" >&2; exit 1; }
ifdef UV
	@rm -rf $(VENV)
	uv venv --quiet --python $(PY) $(VENV)
else
	@$(PY) -c 'import ensurepip' 2>/dev/null || \
	  { echo "needs the Debian package python3-venv: apt-get install python3-venv" >&2; exit 1; }
	@rm -rf $(VENV)
	$(PY) -m venv $(VENV)
endif
	@touch $@

$(READY): requirements.lock pyproject.toml | $(MADE)
	$(INSTALL) --require-hashes --only-binary :all: -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(REHEARSE)
	@touch $@

$(READY_DEV): requirements-dev.lock pyproject.toml | $(MADE)
	$(INSTALL) --require-hashes --only-binary :all: -r requirements-dev.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(REHEARSE)
	@touch $@ $(READY)
