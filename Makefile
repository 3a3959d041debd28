# What you need to have: Python 3.11 to 3.13 and make. `make help` lists the words.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# A file of tests at a time on each core: what a file's tests share is made once. Long files first: tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder
PORT ?= 8000

.NOTPARALLEL: # of what goes into one environment
.PHONY: help dev demo dashboard ui catalog test chaos-test install-test snowflake-test infra-test ci-test browser-test bench bench-full bench-test lint hooks format sample lock clean

help: ## List the words
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

# What a target needs and no more: base, loading, dev. The locks agree, so each adds to the ones before it.
.venv/%.installed: requirements/%.lock requirements/installer.lock requirements/install pyproject.toml
	@$(PYTHON) requirements/install $@ $<

# Environments of their own: the emulator wants other versions of DuckDB and SQLGlot, the UI another uvicorn, dbt its own.
.venv-%/installed: requirements/%.lock requirements/install | .venv/base.installed
	@$(PYTHON) requirements/install $@ $<

dev: .venv/base.installed ## Build the whole warehouse from sample data and ask it three questions
	@$(BIN)/sqlmesh plan dev --auto-apply --skip-tests
	@$(BIN)/meshflow examples dev

demo: .venv/loading.installed ## Start two live sources, load what they write, run, and compare before and after
	@$(BIN)/meshflow demo

dashboard: .venv/dashboards.installed ## Open the dashboards on whatever there is: Snowflake, live data, the sample
	@$(BIN)/streamlit run dashboards/app.py

# It shows the project, not what is built: a folder of its own for databases and logs keeps it out of the way of a plan.
# A log elsewhere in the project would make it reload for ever.
ui: .venv-ui/installed ## Open SQLMesh's own UI: models, and the lineage of tables and columns
	@mkdir -p .cache/ui
	@MESHFLOW_DATA=.cache/ui .venv-ui/bin/sqlmesh --log-file-dir .cache/ui ui --mode catalog --port $(PORT)

catalog: .venv/base.installed ## Describe every model and column, and where it comes from, in one HTML file
	@$(BIN)/meshflow catalog build

test: .venv/dev.installed ## Run every test that needs nothing but Python
	@$(PYTEST)

chaos-test: .venv/dev.installed ## Kill traffic, loads and runs at random, and compare what remains with the sources
	@$(PYTEST) tests/chaos

install-test: .venv/dev.installed ## Interrupt installations, fill the disk, cut the network, and see the next make heal
	@$(PYTEST) tests/install

snowflake-test: .venv/dev.installed .venv/snowflake.installed .venv-emulator/installed ## Prove the life cycle, loads and parity against an emulated Snowflake
	@$(PYTEST) tests/integration

ci-test: .venv/dev.installed .venv/snowflake.installed .venv-emulator/installed ## Run hooks, `meshflow ci`, and the workflows of GitHub Actions without GitHub, against an emulated Snowflake
	@$(PYTEST) tests/ci tests/workflows

browser-test: .venv/dev.installed .venv/dashboards.installed .venv/browser.installed .venv-ui/installed ## Open dashboards, UI and catalog in Chromium, which has to be on PATH
	@$(PYTEST) tests/browser

infra-test: .venv/dev.installed .venv/snowddl.installed ## Prove by the DDL who may do what on Snowflake, and deploy the traffic to an emulated AWS
	@$(PYTEST) tests/infra

bench: .venv/loading.installed .venv/bench.installed .venv-dbt/installed ## Measure everything beside dbt and the limit, an hour and a half; leave the machine alone meanwhile
	@$(BIN)/python benchmarks/run.py all

bench-full: .venv/loading.installed .venv/bench.installed .venv-dbt/installed ## The same up to 50 million order lines: hours, 30 GB of disk
	@$(BIN)/python benchmarks/run.py all --full

bench-test: .venv/dev.installed .venv-dbt/installed ## Compare the results of meshflow, dbt and the limit on few rows, and count statements
	@$(PYTEST) tests/benchmarks

lint: .venv/dev.installed ## Check conventions, format, types, workflows and secrets, and repair what can be
	@PRE_COMMIT_HOME=.cache/pre-commit $(BIN)/pre-commit run --all-files $(if $(CI),--show-diff-on-failure)

hooks: .venv/dev.installed ## Check every commit as lint does, and run unit tests before a push
	@$(BIN)/pre-commit install

format: .venv/dev.installed ## Write SQL and Python in the project's format
	@$(BIN)/sqlmesh format
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

sample: .venv/dev.installed ## Write the sample rows in seeds/ anew
	@$(BIN)/meshflow sample

lock: .venv/dev.installed ## Resolve pyproject.toml into requirements/*.lock
	@requirements/lock

clean: ## Remove databases, caches and the environment
	@if [ -d data/postgres ]; then $(BIN)/meshflow source down; fi
	@rm -rf .venv .venv-dbt .venv-emulator .venv-ui .cache logs data/*.duckdb data/*.wal data/*_spill data/postgres data/loader data/dashboards data/catalog data/cron.lock
