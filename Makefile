# Everything here needs Python 3.11+ and a package index. pip does the installing, so that its own settings
# (PIP_INDEX_URL, PIP_CERT, pip.conf, proxies) hold without being translated for another tool.
.DEFAULT_GOAL := help
.PHONY: help setup lock lint mypy format test test-long demo bench changes clean
SHELL := /bin/sh

# Tests that run at a time. Most of them wait for something, so two cores do more than two.
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECTS := $(patsubst %/,%,$(dir $(wildcard pyproject.toml sdk/*/pyproject.toml services/*/pyproject.toml)))
CODE := $(wildcard aiki sdk/*/src services/*/src tests examples benchmarks)

# The first interpreter that really runs (a version manager's shim may not), is new enough and can make a venv.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)

# A venv knows its own path: a copied tree must not run the code of the tree it was copied from.
PLACE := $(shell printf %s '$(CURDIR)' | cksum | cut -d ' ' -f 1)
STAMP := $(VENV)/.setup-$(PLACE)

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

setup: $(STAMP) ## build .venv with everything; nothing to do when nothing changed

$(STAMP): requirements.lock $(addsuffix /pyproject.toml,$(PROJECTS))
	@test -e $(VENV)/.place-$(PLACE) && $(BIN)/python -c '' 2>/dev/null || { \
		test -n "$(PYTHON)" || { echo 'Aiki needs Python 3.11 or later, with venv: set PYTHON=/path/to/python3' >&2; exit 1; }; \
		echo "setup: $(VENV) with $$($(PYTHON) --version)"; \
		"$(PYTHON)" -m venv --clear $(VENV) && touch $(VENV)/.place-$(PLACE); }
	@echo 'setup: third-party packages, by hash'
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@echo 'setup: $(PROJECTS)'
	@$(PIP) install --quiet --no-deps --no-build-isolation $(addprefix -e ./,$(PROJECTS))
	@touch $@

lock: setup ## resolve requirements.lock again (UPGRADE=1: to the newest versions)
	tools/lock $(if $(UPGRADE),--upgrade)

lint: setup ## linters, layers and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy $(CODE)
	$(BIN)/basedpyright

mypy: setup ## types alone
	$(BIN)/mypy $(CODE)

format: setup ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## linters, types and all tests but the long ones
	$(BIN)/pytest -m 'not long' -n $(JOBS) --dist loadfile $(ARGS)

test-long: lint ## all tests, the long ones too
	$(BIN)/pytest -m 'not long' -n $(JOBS) --dist loadfile $(ARGS)
	$(BIN)/pytest -m long $(ARGS)

demo: setup ## the example `audit`, with a worker killed half-way
	$(BIN)/python -m examples.demo $(ARGS)

bench: setup ## the benchmarks beside the peers, or e.g. ARGS='W1 --mode local'
	$(BIN)/python -m benchmarks $(or $(ARGS),compare)

changes: setup ## show what the next release's notes would say
	$(BIN)/towncrier build --draft

clean: ## remove .venv, caches and build products
	rm -rf $(VENV) build dist sdk/*/dist services/*/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
