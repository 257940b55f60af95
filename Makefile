# Every target runs install/bootstrap.sh first; it returns at once when nothing changed.
.DEFAULT_GOAL := help
.PHONY: help bootstrap setup env-list clean-envs demo test test-full fidelity lint format

PYTEST_WORKERS ?= 2

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub("%", "MODEL", $$1); printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## Make the host environment .venv from requirements.txt
	@./install/bootstrap.sh

setup: ## Set up everything: system packages, storage, sources, environments, weights
	@./install/setup.sh

setup-%: ## Set up one model, as in make setup-MapTR
	@./install/setup.sh --model $*

test-%: ## Check one model's sources and environment, and run it; VARIANT=classic for those pins
	@./install/check_model.sh $* $(if $(VARIANT),--variant $(VARIANT))

env-list: bootstrap ## Say which environments are ready
	@.venv/bin/admlops env list

clean-envs: ## Remove all environments; packs, weights and data stay
	@./install/clean_environments.sh

demo: bootstrap ## Run, evaluate and report the embedded model on synthetic scenes
	@./runners/quick_test.sh --models GroundPlane

test: bootstrap ## Run the tests
	@.venv/bin/pytest -n $(PYTEST_WORKERS) --dist loadscope -m "not full" tests

test-full: bootstrap ## Run the long tests as well
	@.venv/bin/pytest -n $(PYTEST_WORKERS) --dist loadscope tests

fidelity: bootstrap ## Compare adapters with upstream and variants with each other; writes docs/fidelity.md
	@.venv/bin/python -m tests.models.fidelity

lint: bootstrap ## Check style, types and shell scripts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	@if command -v shellcheck >/dev/null; then shellcheck -x install/*.sh runners/*.sh tests/gpu/*.sh envs/activate .ci/run tests/install/*.ba*; else echo "shellcheck is not installed: apt-get install shellcheck"; fi

format: bootstrap ## Format the code
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .
