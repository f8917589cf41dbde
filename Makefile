# cyclades_tx: everything that a newcomer types. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PORT ?= 8774
STATE ?= ./var

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
SOURCES := $(shell find cyclades_tx twisted -type f -not -name '*.pyc' -not -name 'dropin.cache')
# `make test ARGS="tests/model -k quota"` runs a part, in one process; the coverage bar holds for
# the whole only.
ARGS ?=
FUZZ_SECONDS ?= 600
# So many tests at a time when all are run.
WORKERS ?= 4
# Where nobody watches, a run in which much is broken ends and says so.
LIMITS := $(if $(filter true,$(CI)),--maxfail=15)

.PHONY: help run run-ganeti test bench fuzz lint clean

help: ## show this list
	@echo 'make TARGET [PORT=8774] [STATE=./var] [PYTHON=python3]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1 - \2/p' $(MAKEFILE_LIST)

run: $(VENV)/.service ## start the whole cloud with two simulated Ganeti clusters, until Ctrl-C
	@exec $(BIN)/python -P -m cyclades_tx.trial --state '$(STATE)' --port '$(PORT)'

run-ganeti: $(VENV)/.service ## the same with two real Ganeti clusters (Debian, as root)
	@exec $(BIN)/python -P -m cyclades_tx.trial --state '$(STATE)' --port '$(PORT)' --ganeti tests/real

test: $(VENV)/.tools ## run all tests in random order; with CI=true or REAL=1 the real parts too
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n $(WORKERS) --dist loadgroup --cov --cov-report=term --durations=30 $(LIMITS))

fuzz: $(VENV)/.tools ## send spoiled bytes to the console proxy for FUZZ_SECONDS=600
	@$(BIN)/python -m tests.console.fuzz --seconds '$(FUZZ_SECONDS)'

bench: $(VENV)/.tools ## measure the service beside a bare Klein handler
	@$(BIN)/python -m bench

lint: $(VENV)/.tools ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean: ## remove the environment and what the tools left; the state of `make run` stays
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov \
	    .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/it")'
	@$(PYTHON) -m venv $(VENV)

# What the service needs, with the embedded PostgreSQL of the trial run.
$(VENV)/.depends: setup.py pyproject.toml | $(VENV)/bin/python
	@echo 'Installing what the service needs into $(VENV) ...'
	@$(PIP) install --upgrade 'setuptools >= 77' wheel
	@$(PIP) install --no-build-isolation '.[trial]'
	@touch $@

# The package itself, again after each change of a source.
$(VENV)/.service: $(SOURCES) README.md LICENSE | $(VENV)/.depends
	@rm -rf build
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall .
	@rm -rf build *.egg-info
	@touch $@

$(VENV)/.tools: $(VENV)/.depends $(VENV)/.service
	@test $@ -nt $(VENV)/.depends || { echo 'Installing the tools for tests ...'; $(PIP) install --no-build-isolation '.[test]'; }
	@rm -rf build *.egg-info
	@touch $@
