## make up      start RedFlag on this machine (options: make up ARGS="--no-agent")
## make test    run all tests
## make lint    check style, types, imports, dependencies and locks
## make bench   measure (bench-NAME for one)
## make clean   remove what these commands made in this folder (never RedFlag's data)

PYTHON ?= python3
ARGS ?=
# Test processes side by side; each has a PostgreSQL of its own.
JOBS ?= 2
SHELL := /bin/sh
.DEFAULT_GOAL := help
MEMBERS := libs/wire libs/ops libs/store broker-config gateway dispatcher scanner-agent dashboard deploy
# Said in one line when there is no such Python; the rest is said by bootstrap.py.
NEED_PYTHON = @command -v $(PYTHON) >/dev/null || { \
	echo "redflag: there is no $(PYTHON); install it with: apt-get install python3 python3-venv" >&2; exit 1; }
MANIFESTS := $(MEMBERS:%=%/pyproject.toml) deploy/bootstrap.py requirements/bootstrap.txt

.PHONY: help up test test-unit test-integration test-acceptance test-agent lint format lock bench clean

help:
	@sed -n 's/^## //p' Makefile

.venv/.run: requirements/run.txt $(MANIFESTS)
	$(NEED_PYTHON)
	@echo "Installing RedFlag into .venv (first time: about half a minute)"
	@$(PYTHON) deploy/bootstrap.py run
	@touch $@

.venv/.dev: requirements/dev.txt $(MANIFESTS)
	$(NEED_PYTHON)
	@echo "Installing RedFlag and its test tools into .venv"
	@$(PYTHON) deploy/bootstrap.py dev
	@touch $@ .venv/.run

.venv-agent/.done: requirements/agent-test.txt $(MANIFESTS)
	@echo "Installing the agent alone into .venv-agent"
	@$(PYTHON) deploy/bootstrap.py agent-test --venv .venv-agent
	@touch $@

up: .venv/.run
	@exec .venv/bin/redflag up $(ARGS)

test: test-unit test-integration test-acceptance test-agent

test-unit: .venv/.dev
	.venv/bin/pytest -q -n $(JOBS) --dist loadfile tests/unit $(ARGS)

test-integration: .venv/.dev
	.venv/bin/pytest -q -n $(JOBS) --dist loadfile --durations 10 tests/integration $(ARGS)

test-acceptance: .venv/.dev
	.venv/bin/pytest -q --durations 5 tests/acceptance $(ARGS)

# The agent must install and pass with nothing but itself, the wire and ops.
test-agent: .venv-agent/.done
	REDFLAG_AGENT_ONLY=1 .venv-agent/bin/pytest -q -n $(JOBS) -p no:cacheprovider tests/unit/scanner_agent tests/unit/wire tests/unit/ops $(ARGS)

lint: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	@for member in $(MEMBERS); do echo "deptry $$member"; (cd $$member && ../$$(echo $$member | sed 's,[^/]*/,../,;s,[^/]*$$,,').venv/bin/deptry src) || exit 1; done
	sh deploy/check-repository.sh

format: .venv/.dev
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

lock: .venv/.dev
	sh deploy/lock.sh

bench: .venv/.dev
	.venv/bin/python -m tests.bench $(ARGS)

bench-%: .venv/.dev
	.venv/bin/python -m tests.bench $* $(ARGS)

clean:
	rm -rf .venv .venv-agent .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis bench-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
