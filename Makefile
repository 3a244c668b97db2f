# Everything is installed in .venv in this directory. Each target installs what it needs first.

VENV := .venv
STAMP := $(VENV)/.set-up
IN := $(VENV)/bin/python

# The first Python that is new enough; choose another one with `make PYTHON=/path/to/python3.12`.
# The search runs once, and only if something must be installed.
PYTHON ?= $(eval PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$name && break; done))$(PYTHON)

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types bench chaos screenshots clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## install everything into .venv, if it is missing or out of date

run: $(STAMP) ## run the main job on the simulator, or with a private key: make run FILE=ids.txt [YES=1]
	@$(IN) -m local.demo $(if $(FILE),"$(FILE)") $(if $(YES),--yes)

test: $(STAMP) ## run all tests, including short attacks; pass arguments to pytest with ARGS
	@# Many tests wait for other processes, so two cores run four at a time; those that wait longest come first.
	@$(IN) -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(STAMP) ## run the long attacks
	@$(IN) -m pytest tests/chaos -m chaos_long --timeout 3600 --numprocesses 4 --dist load -rP $(ARGS)

lint: $(STAMP) ## check style, security rules, and known vulnerabilities of dependencies
	@$(IN) -m ruff check .
	@$(IN) -m ruff format --check .
	@$(IN) .ci/audit.py

types: $(STAMP) ## check types
	@$(IN) -m mypy

bench: $(STAMP) ## measure the figures in the README; choose some with ARGS
	@# celery-batches, for comparison: it asks for a Celery below 5.7, and works with 5.7.
	@$(IN) -m pip install --quiet --disable-pip-version-check --no-deps celery-batches==0.11
	@$(IN) -m benchmarks $(ARGS)

screenshots: $(STAMP) ## take the pictures of the dashboard in docs/pictures, with Chromium
	@PICTURES=1 $(IN) -m pytest tests/browser $(ARGS)

clean: ## remove generated files, except .kitsweep, the data of `kitsweep up`
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find config worker tasks cli local simulator web tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Reinstalls if a source of the stamp is newer. A .venv that does not start (the directory was moved, or its Python was
# removed) is created again.
$(STAMP): pyproject.toml constraints.txt Makefile $(wildcard tests/node/package-lock.json)
	@if [ -z "$(PYTHON)" ]; then \
		echo "Kitsweep needs Python 3.11 or newer, but found: $$(python3 --version 2>&1 || true)" >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Kitsweep needs Python 3.11 or newer; $(PYTHON) is not" >&2; exit 1; }
	@$(IN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make a .venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) ..."
	@$(IN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,flower]'
	@# Other versions of ImageKit's SDKs, for the tests of `kitsweep web`; those for Node.js where it is installed.
	@$(IN) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/imagekitio4 \
		imagekitio==4.2.0 requests-toolbelt==1.0.0
	@if command -v npm >/dev/null; then npm ci --prefix tests/node --ignore-scripts --no-audit --no-fund --silent; fi
	@touch $@
