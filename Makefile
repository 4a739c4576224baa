PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check unit bench contracts format clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## install everything into .venv, by exact versions and hashes

$(VENV)/.installed: requirements/dev.txt pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## make a synthetic library and run the whole job on it
	rm -rf carrel-demo
	$(BIN)/carrel demo carrel-demo

test: check unit ## all that CI runs

check: setup ## lint, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup ## the tests
	$(BIN)/python -m pytest -q

bench: setup ## measure this job against others on the same events
	$(BIN)/python tests/benchmarks/bench.py

contracts: setup ## write the generated contracts anew
	$(BIN)/python -m pipelines.contract_files

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what make made
	rm -rf $(VENV) carrel-demo build *.egg-info
