# Every target runs install/bootstrap.sh first; it returns at once when nothing changed.
.DEFAULT_GOAL := help
.PHONY: help bootstrap setup env-list clean-envs demo test test-full fidelity docs lint format

PYTEST_WORKERS ?= 2
PYTEST_OPTIONS = -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub("%", "MODEL", $$1); printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## Make the host environment .venv from requirements.txt
	@./install/bootstrap.sh

setup: ## Set up everything: system packages, storage, sources, environments, weights
	@./install/setup.sh

setup-%: ## Set up one model, as in make setup-MapTR; VARIANT=classic for those pins
	@./install/setup.sh --model $* $(if $(VARIANT),--variant $(VARIANT))

test-%: ## Check one model from its sources to its records; VARIANT=classic for those pins
	@./install/check_model.sh $* $(if $(VARIANT),--variant $(VARIANT))

env-list: bootstrap ## Say which environments are ready
	@.venv/bin/admlops env list

clean-envs: ## Remove all environments; packs, weights and data stay
	@./install/clean_environments.sh

demo: bootstrap ## Run, evaluate and report the embedded model on synthetic scenes
	@./runners/quick_test.sh --models GroundPlane

# Before Python 3.12 a trace function counts the lines and costs a quarter of the tests' own time.
IS_NEW = import sys; print("yes" if sys.version_info >= (3, 12) else "no")
COVERAGE ?= $(shell { .venv/bin/python -c '$(IS_NEW)' || python3 -c '$(IS_NEW)'; } 2>/dev/null)

test: bootstrap ## Run the tests, and say how much of the code they ran (COVERAGE=yes before Python 3.12)
ifeq ($(COVERAGE),no)
	@.venv/bin/pytest $(PYTEST_OPTIONS) -m "not full" tests
	@echo "coverage: not measured with this Python, which is slow at it: make test COVERAGE=yes"
else
	@.venv/bin/pytest $(PYTEST_OPTIONS) --cov --cov-report= -m "not full" tests
	@echo "coverage: $$(.venv/bin/coverage report --format=total) % of the lines, without those that other processes run"
endif

test-full: bootstrap ## Run the long tests as well
	@.venv/bin/pytest $(PYTEST_OPTIONS) tests

fidelity: bootstrap ## Compare adapters with upstream and variants with each other; writes docs/fidelity.md
	@.venv/bin/python -m tests.models.fidelity

docs: ## Build the documentation site, which loads nothing from elsewhere
	@./install/docs.sh

lint: bootstrap ## Check style, types, imports and shell scripts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/shellcheck -x install/*.sh runners/*.sh tests/gpu/*.sh envs/activate .ci/run tests/install/*.ba*

format: bootstrap ## Format the code
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .
