# Everything is built in .venv, inside this folder. Each target sets up what it needs, on a fresh machine too.

VENV := .venv
STAMP := $(VENV)/.set-up
IN := $(VENV)/bin/python

# The first Python here that is new enough; name another one with `make PYTHON=/path/to/python3.12`.
# Looked for once, and only when something is to be set up.
PYTHON ?= $(eval PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$name && break; done))$(PYTHON)

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types bench chaos clean

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## build .venv with everything, where it is missing or out of date

run: $(STAMP) ## run the main job on the simulator; with a private key set: make run FILE=ids.txt [YES=1]
	@$(IN) -m local.demo $(if $(FILE),"$(FILE)") $(if $(YES),--yes)

test: $(STAMP) ## pass all tests, a short form of the attacks included; pytest's arguments in ARGS
	@$(IN) -m pytest --numprocesses 2 --dist loadfile $(ARGS)

chaos: $(STAMP) ## pass the long form of the attacks
	@$(IN) -m pytest tests/chaos -m chaos_long --timeout 3600 --numprocesses 4 --dist load -rP $(ARGS)

lint: $(STAMP) ## check style, security rules, and the dependencies' known faults
	@$(IN) -m ruff check .
	@$(IN) -m ruff format --check .
	@$(IN) .ci/audit.py

types: $(STAMP) ## check types, strictly
	@$(IN) -m mypy

bench: $(STAMP) ## measure the figures of the README; name some of them in ARGS
	@$(IN) -m benchmarks $(ARGS)

clean: ## remove what make, tests and tools have left (not .kitsweep, where `kitsweep up` keeps data)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find config worker tasks cli local simulator tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than what it was made from, or everything is installed again. A folder that was moved, or whose
# Python is gone, has a .venv that does not start: it is built anew.
$(STAMP): pyproject.toml constraints.txt Makefile
	@if [ -z "$(PYTHON)" ]; then \
		echo "Kitsweep needs Python 3.11 or newer, and found: $$(python3 --version 2>&1 || true)" >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Kitsweep needs Python 3.11 or newer; $(PYTHON) is not" >&2; exit 1; }
	@$(IN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make a .venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) ..."
	@$(IN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,flower]'
	@touch $@
