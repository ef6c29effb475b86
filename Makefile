# Everything happens in .venv, which is made on first use. Needs Python 3.11 or later, and make.

PYTHON ?= $(shell for one in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$one -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$one && break; done)
BIN := .venv/bin
WORKERS ?= auto

.PHONY: help install demo demo-bigquery test lint types check soak bench clean

help:  ## Say what there is.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Syncer needs Python 3.11 or later; none was found on the PATH."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# A stamp for each set of packages: the daemon itself needs none of those that only tests or lint need.
.venv/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.tests: .venv/.installed
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

.venv/.lint: .venv/.installed
	$(BIN)/python -m pip install --quiet --group lint
	@touch $@

install: .venv/.installed  ## Make .venv with syncer in it: .venv/bin/syncer.

demo: .venv/.installed  ## Two nights of scores into local stand-ins of the three services; no account needed.
	$(BIN)/syncer demo

demo-bigquery: .venv/.tests  ## The same story, read from a stand-in of BigQuery: its real client, over HTTP and gRPC.
	$(BIN)/python -m tests.standins.bigquery.demo

test: .venv/.tests  ## Run the tests, in parallel.
	$(BIN)/python -m pytest -n $(WORKERS)

lint: .venv/.lint  ## Look at style and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: .venv/.lint  ## Check the types of both packages, strictly.
	$(BIN)/mypy

check: lint types test  ## All of the above.

soak: .venv/.tests  ## The long endurance runs: hundreds of kills, thousands of random histories.
	$(BIN)/python -m pytest -n $(WORKERS) -m slow --timeout 7200

bench: .venv/.tests  ## Measure, as ratios within one run.
	$(BIN)/python -m benchmarks --page docs/performance.md

clean:  ## Remove what was made here, except demo/ and demo-bigquery/.
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
