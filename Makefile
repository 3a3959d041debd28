# What you need to have: Python 3.11 to 3.13 and make. `make help` lists the words.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PIP := --quiet --disable-pip-version-check

.PHONY: help dev test lint format sample lock clean

help: ## List the words
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/installed: requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "meshflow needs Python 3.11 to 3.13, but $(PYTHON) is %d.%d: try make PYTHON=python3.13" % sys.version_info[:2])'
	@echo "Creating the environment in .venv, which takes about half a minute …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install $(PIP) --require-hashes --requirement requirements/dev.lock
	@$(BIN)/python -m pip install $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

dev: .venv/installed ## Build the whole warehouse from sample data and ask it three questions
	@$(BIN)/sqlmesh plan dev --auto-apply
	@$(BIN)/meshflow ask dev

test: .venv/installed ## Run every test that needs nothing but Python
	@$(BIN)/sqlmesh test
	@$(BIN)/python -m pytest

lint: .venv/installed ## Check conventions, format and types
	@$(BIN)/sqlmesh lint
	@$(BIN)/sqlmesh format --check
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: .venv/installed ## Write SQL and Python in the project's format
	@$(BIN)/sqlmesh format
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

sample: .venv/installed ## Write the sample rows in seeds/ anew
	@$(BIN)/meshflow sample

lock: .venv/installed ## Resolve pyproject.toml into requirements/*.lock
	@requirements/lock

clean: ## Remove databases, caches and the environment
	@rm -rf .venv .cache logs data/*.duckdb data/*.wal
