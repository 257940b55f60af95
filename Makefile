# Every target runs install/bootstrap.sh first; it returns at once when nothing changed.
.DEFAULT_GOAL := help
.PHONY: help audit bootstrap setup env-list clean-envs demo demo-beyond demo-cars serve-demo test test-full fidelity docs lint format

# Many tests wait for a deadline or a disk, so that three workers keep two cores busy.
PYTEST_WORKERS ?= 3
PYTEST_OPTIONS = -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub("%", "MODEL", $$1); printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## Make the host environment .venv from requirements.txt
	@./install/bootstrap.sh

setup: ## Set up everything: system packages, storage, sources, environments, weights
	@./install/setup.sh

setup-%: ## Set up one model, as in make setup-MapTR; VARIANT=classic for those pins, ACCEPT_LICENCE=yes for AGPL
	@./install/setup.sh --model $* $(if $(VARIANT),--variant $(VARIANT)) $(if $(ACCEPT_LICENCE),--accept-licence)

test-%: ## Check one model from its sources to its records; VARIANT=classic for those pins, ENGINE=onnx for an export
	@./install/check_model.sh $* $(if $(VARIANT),--variant $(VARIANT)) $(if $(ENGINE),--engine $(ENGINE))

train-smoke-%: bootstrap ## Train MODEL a few iterations, as small as it trains; ITERATIONS=40, VARIANT=classic
	@.venv/bin/admlops train $* --smoke $(if $(ITERATIONS),--iterations $(ITERATIONS)) $(if $(VARIANT),--variant $(VARIANT))

env-list: bootstrap ## Say which environments are ready
	@.venv/bin/admlops env list

clean-envs: ## Remove all environments; packs, weights and data stay
	@./install/clean_environments.sh

demo: bootstrap ## Run, evaluate and report the embedded model on synthetic scenes
	@./runners/quick_test.sh --models GroundPlane

demo-cars: bootstrap ## Let two car detectors battle on synthetic pictures
	@./runners/demo_cars.sh

demo-beyond: bootstrap ## Latency, worse sensors, a gate and a frontier, with the embedded model on synthetic scenes
	@./runners/demo_beyond.sh

serve-demo: demo ## Run the demo, then serve its runs, the dashboard and the job API; PORT=8001 for another port
	@.venv/bin/admlops serve --port $(or $(PORT),8000)

# Slipcover takes its probes out of lines that have run; a tracer costs a quarter of the tests' own time.
COVERED = -m slipcover --immediate --source runners/admlops,runners/worker --json --out .coverage.json

test: bootstrap ## Run the tests, and say how much of the code they ran
	@.venv/bin/python $(COVERED) -m pytest $(PYTEST_OPTIONS) -m "not full" tests
	@.venv/bin/python -m tests.say_coverage .coverage.json

test-full: bootstrap ## Run the long tests as well
	@ADMLOPS_TEST_EXEC=1 .venv/bin/pytest $(PYTEST_OPTIONS) tests

fidelity: bootstrap ## Compare adapters with upstream and variants with each other; writes docs/fidelity.md
	@.venv/bin/python -m tests.models.fidelity

audit: bootstrap ## Ask for known vulnerabilities of all locks, count licences, inspect all checkpoints
	@.venv/bin/admlops audit

docs: ## Build the documentation site, which loads nothing from elsewhere
	@./install/docs.sh

lint: bootstrap ## Check style, types, imports and shell scripts
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/shellcheck -x install/*.sh install/ssh/*.bash runners/*.sh tests/gpu/*.sh runners/admlops/reports/vendor/*.sh runners/admlops/service/dashboard/vendor/*.sh envs/activate .ci/run tests/install/*.ba*

format: bootstrap ## Format the code
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .
