# Needs Python 3.11 to 3.13 and make. `make help` lists the commands.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# One file of tests at a time on each core, so that the tests of a file share fixtures. tests/conftest.py puts long files
# first.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder
PORT ?= 8000

.NOTPARALLEL: # several locks go into one environment
.PHONY: help dev demo dashboard ui catalog test chaos-test chaos-long install-test snowflake-test snowflake-check infra-test ci-test ci-long browser-test images bench bench-full bench-test lint hooks format sample lock scan clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

# A target installs only the locks it needs: base, loading, dev. The locks agree, so each adds to the ones before it.
.venv/%.installed: requirements/%.lock requirements/installer.lock requirements/install pyproject.toml
	@$(PYTHON) requirements/install $@ $<

# Separate environments: the emulator needs other versions of DuckDB and SQLGlot, the UI another uvicorn, dbt its own.
.venv-%/installed: requirements/%.lock requirements/install | .venv/base.installed
	@$(PYTHON) requirements/install $@ $<

dev: .venv/base.installed ## Build all models from sample data in environment dev, then run example queries
	@$(BIN)/meshflow plan dev --auto-apply --skip-tests
	@$(BIN)/meshflow examples dev

demo: .venv/loading.installed ## Run the end-to-end demo: source database, load, plan, run, figures before and after
	@$(BIN)/meshflow demo

dashboard: .venv/dashboards.installed ## Open the dashboards on the first warehouse found: Snowflake, live, sample
	@$(BIN)/streamlit run dashboards/server.py

# The UI shows the project, not the warehouse. Databases and logs in .cache/ui keep it from blocking a plan. A log
# elsewhere in the project would make it reload for ever.
ui: .venv-ui/installed ## Open SQLMesh's browser UI: models, lineage of tables and columns
	@mkdir -p .cache/ui
	@MESHFLOW_DATA=.cache/ui .venv-ui/bin/sqlmesh --log-file-dir .cache/ui ui --mode catalog --port $(PORT)

catalog: .venv/base.installed ## Write every model and column, with lineage, to one HTML file
	@$(BIN)/meshflow catalog build

test: .venv/dev.installed ## Run the tests that need nothing but Python
	@$(PYTEST)

chaos-test: .venv/dev.installed ## Kill traffic, loads and runs at random, and compare the result with the sources
	@$(PYTEST) tests/chaos

chaos-long: .venv/dev.installed ## A thousand histories of loads, three days of runs, an hour of histories of runs, an hour of kills in real time
	@MESHFLOW_LOAD_HISTORIES=1000 $(PYTEST) -rP tests/chaos/test_load_histories.py
	@MESHFLOW_DAYS=3 $(PYTEST) tests/python/test_freshness.py -k days_of_hourly_runs
	@MESHFLOW_CHAOS_SECONDS=3600 $(PYTEST) tests/chaos/test_histories.py
	@MESHFLOW_CLOCK=real $(PYTEST) tests/chaos/test_kills.py

install-test: .venv/dev.installed ## Interrupt installations, fill the disk, cut the network, and check that the next make repairs them
	@$(PYTEST) tests/install

snowflake-test: .venv/dev.installed .venv/snowflake.installed .venv-emulator/installed ## Test life cycle, loads and parity with DuckDB against an emulated Snowflake
	@$(PYTEST) tests/integration

ci-test: .venv/dev.installed .venv/loading.installed .venv/snowflake.installed .venv-emulator/installed ## Test hooks, `meshflow ci` and the GitHub Actions workflows, against a fake GitHub and an emulated Snowflake
	@$(PYTEST) tests/ci tests/workflows

ci-long: .venv/dev.installed .venv/loading.installed .venv/snowflake.installed .venv-emulator/installed ## Print how long a push, `/deploy` and a change of documents take, by job and step
	@$(BIN)/python -m pytest -q -rP tests/workflows/speed.py

browser-test: .venv/dev.installed .venv/loading.installed .venv/dashboards.installed .venv/browser.installed .venv-ui/installed ## Test dashboards, UI and catalog in Chromium, which must be on PATH
	@$(PYTEST) tests/browser

images: .venv/dev.installed .venv/loading.installed .venv/dashboards.installed .venv/browser.installed ## Take the pictures of the README again
	@MESHFLOW_IMAGES=docs/images $(PYTEST) tests/browser/test_dashboards.py tests/browser/test_catalog.py -k picture_of_the_readme

snowflake-check: .venv/loading.installed .venv/snowflake.installed ## Check a real account, ACCOUNT=myorg-myaccount, and write a report: docs/snowflake-readiness.md
	@$(BIN)/python -m meshflow.snowflake_check $(ACCOUNT) $(if $(PIPELINE),--pipeline)

infra-test: .venv/dev.installed .venv/snowddl.installed ## Test Snowflake roles and grants (SnowDDL, offline), and the AWS stack (emulated)
	@$(PYTEST) tests/infra

bench: .venv/loading.installed .venv/bench.installed .venv-dbt/installed ## Run the benchmarks against dbt and a hand-written SQL baseline, 95 minutes on an otherwise idle machine
	@$(BIN)/python benchmarks/run.py all

bench-full: .venv/loading.installed .venv/bench.installed .venv-dbt/installed ## Run the benchmarks with up to 50 million order lines: hours, 30 GB of disk
	@$(BIN)/python benchmarks/run.py all --full

bench-test: .venv/dev.installed .venv-dbt/installed ## Compare results of meshflow, dbt and the baseline on few rows, and count statements
	@$(PYTEST) tests/benchmarks

lint: .venv/dev.installed ## Check conventions, format, types, workflows and secrets; auto-fix what can be fixed
	@PRE_COMMIT_HOME=.cache/pre-commit $(BIN)/pre-commit run --all-files $(if $(CI),--show-diff-on-failure)

hooks: .venv/dev.installed ## Install git hooks: lint before a commit, unit tests before a push
	@$(BIN)/pre-commit install

format: .venv/dev.installed ## Format SQL and Python
	@$(BIN)/sqlmesh format
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

sample: .venv/dev.installed ## Regenerate the sample data in seeds/
	@$(BIN)/meshflow sample

lock: .venv/dev.installed ## Resolve pyproject.toml into requirements/*.lock
	@requirements/lock

# The locks that production installs, and jobs with secrets.
scan: .venv/base.installed ## List the packages of production's locks in .cache/sbom, and their known vulnerabilities
	@$(BIN)/python requirements/scan .cache/sbom $(foreach lock,installer base loading snowflake dashboards,requirements/$(lock).lock)

clean: ## Remove databases, caches and environments
	@if [ -d data/postgres ]; then $(BIN)/meshflow source down; fi
	@rm -rf .venv .venv-dbt .venv-emulator .venv-ui .cache logs data/*.duckdb data/*.wal data/*_spill data/postgres data/loader data/dashboards data/catalog data/cron.lock
