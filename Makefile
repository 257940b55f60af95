# Every target runs install/bootstrap.sh first; it returns at once when nothing changed.
.DEFAULT_GOAL := help
.PHONY: help bootstrap demo test test-full lint format

PYTEST_WORKERS ?= 2

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## Make the host environment .venv from requirements.txt
	@./install/bootstrap.sh

demo: bootstrap ## Run, evaluate and report the embedded model on synthetic scenes
	@./runners/quick_test.sh

test: bootstrap ## Run the tests
	@.venv/bin/pytest -n $(PYTEST_WORKERS) --dist loadscope -m "not full" tests

test-full: bootstrap ## Run the long tests as well
	@.venv/bin/pytest -n $(PYTEST_WORKERS) --dist loadscope tests

lint: bootstrap ## Check style, types and shell scripts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	@if command -v shellcheck >/dev/null; then shellcheck install/*.sh runners/*.sh .ci/run; else echo "shellcheck is not installed: apt-get install shellcheck"; fi

format: bootstrap ## Format the code
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .
