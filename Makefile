PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLINK ?= carrel-flink
COVERED := tests/schemas tests/transforms/privacy

.PHONY: help setup demo test check unit soak bench contracts flink-up flink-down fmt format clean

help: ## show this list
	@grep -E '^[a-z -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## install everything into .venv, by exact versions and hashes

$(VENV)/.installed: requirements/dev.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		test -x $(BIN)/python || { echo "need Python 3.11 to 3.13: make setup PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## make a synthetic library and run the whole job on it
	rm -rf carrel-demo
	$(BIN)/carrel demo carrel-demo

test: ## all that CI runs: lint, types, imports, then the tests (their closing line comes last)
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory unit

check: setup ## lint, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup ## the tests, every branch of contracts and privacy rules covered; CI=true wants the sample data
	$(BIN)/python -m coverage run -m pytest -q $(COVERED)
	$(BIN)/python -m coverage report --fail-under=100
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(COVERED:%=--ignore=%)

soak: setup ## kill runs at many more random moments: make soak SEEDS=200
	$(BIN)/python -m pytest -q -m soak

bench: setup ## measure this job against others on the same events
	$(BIN)/python tests/benchmarks/bench.py

contracts: setup ## write the generated contracts anew
	$(BIN)/python -m pipelines.contract_files

flink-up: setup ## start a Flink cluster on this machine: make flink-up FLINK=folder
	@$(BIN)/python -m pipelines.flink_local up $(FLINK)

flink-down: setup ## end it; checkpoints and savepoints stay
	@$(BIN)/python -m pipelines.flink_local down $(FLINK)

fmt format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what make made
	rm -rf $(VENV) carrel-demo build *.egg-info .coverage
