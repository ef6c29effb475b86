# Everything happens in .venv, which is made on first use. Needs Python 3.11 or later, and make.

PYTHON ?= $(shell for one in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$one -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$one && break; done)
BIN := .venv/bin
EXAMPLE := .venv-example/bin
WORKERS ?= auto

.PHONY: help install demo demo-bigquery example example-env test test-example lint types check soak bench sbom \
	audit clean

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

.venv/.soak: .venv/.installed
	$(BIN)/python -m pip install --quiet --group soak
	@touch $@

.venv/.lint: .venv/.installed
	$(BIN)/python -m pip install --quiet --group lint
	@touch $@

.venv/.supply: .venv/.installed
	$(BIN)/python -m pip install --quiet --group supply
	@touch $@

# What is shipped, in an environment of its own: nothing of tests or of these tools is in the list.
build/shipped/.installed: $(BIN)/python pyproject.toml
	$(PYTHON) -m venv --clear build/shipped
	build/shipped/bin/python -m pip install --quiet .
	@touch $@

# dbt, Prefect and pandas stay out of .venv, so that nothing there can come to need them.
.venv-example/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "The example needs Python 3.11 or later; none was found on the PATH."; exit 1; }
	$(PYTHON) -m venv .venv-example
	$(EXAMPLE)/python -m pip install --quiet --upgrade pip
	$(EXAMPLE)/python -m pip install --quiet --editable . --group example
	@touch $@

.venv-example/.tests: .venv-example/.installed
	$(EXAMPLE)/python -m pip install --quiet --group test-example
	@touch $@

install: .venv/.installed  ## Make .venv with syncer in it: .venv/bin/syncer.

demo: .venv/.installed  ## Two nights of scores into local stand-ins of the three services; no account needed.
	$(BIN)/syncer demo

demo-bigquery: .venv/.tests  ## The same story, read from a stand-in of BigQuery: its real client, over HTTP and gRPC.
	$(BIN)/python -m tests.standins.bigquery.demo

example-env: .venv-example/.installed  ## Make .venv-example, with what examples/activation needs.

example: .venv-example/.installed  ## From raw events to scores, to the services, to a plot: docs/activation.md, all of it.
	cd examples/activation && ../../$(EXAMPLE)/python -m activation.walk

test: .venv/.tests  ## Run the tests, in parallel.
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

test-example: .venv-example/.tests  ## Run the tests of the example.
	$(EXAMPLE)/python -m pytest -n $(WORKERS) tests/example

lint: .venv/.lint  ## Look at style and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: .venv/.lint  ## Check the types of both packages, strictly.
	$(BIN)/mypy

check: lint types test  ## All of the above.

soak: .venv/.soak  ## The long endurance runs: hundreds of kills, thousands of random histories.
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m slow --timeout 7200

bench: .venv/.tests  ## Measure, as ratios within one run.
	$(BIN)/python -m benchmarks --page docs/performance.md

sbom: .venv/.supply build/shipped/.installed  ## Write build/sbom.json: every package that is shipped, in CycloneDX.
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --validate --output-file build/sbom.json build/shipped/bin/python

# The program says of each package that it is not on PyPI when it is PyPI that cannot be asked; then it leaves no report.
audit: .venv/.supply build/shipped/.installed  ## Ask the advisories of PyPI about what is shipped; 2 where they cannot be asked.
	@rm -f build/audit.json
	@$(BIN)/pip-audit --strict --progress-spinner off --format json --output build/audit.json \
	  --path build/shipped/lib/python3.*/site-packages || { test -s build/audit.json || { \
	  echo "Nothing was audited: PyPI's advisories could not be asked. Run it where PyPI itself can be reached."; \
	  exit 2; }; echo "build/audit.json names the packages and the versions that mend them."; exit 1; }

clean:  ## Remove what was made here, except demo/ and demo-bigquery/.
	rm -rf .venv .venv-example build .pytest_cache .mypy_cache .ruff_cache .hypothesis
