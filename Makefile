# Everything runs in .venv, which is made on first use and again whenever pyproject.toml changes.
# Needs: python3 >= 3.11 with its venv module. Another interpreter: make PYTHON=python3.12 …

PYTHON ?= python3
LISTEN ?= 127.0.0.1:39999
DATA   ?= ./data
ARGS   ?=

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready-serve
TESTED := $(VENV)/.ready-dev

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help serve test test-all faults bench lint docs clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

serve: $(READY) ## Serve ./data as S3 on 127.0.0.1:39999 (DATA=…, LISTEN=…, ARGS=…)
	@mkdir -p $(DATA)
	$(BIN)/forebay serve $(DATA) --listen $(LISTEN) $(ARGS)

test: $(TESTED) ## Run the tests (ARGS=… goes to pytest)
	$(BIN)/python -m pytest $(ARGS)

test-all: $(TESTED) ## Run the tests, the slow ones and the faults included
	$(BIN)/python -m pytest -m "not benchmark" $(ARGS)

faults: $(TESTED) ## Kill servers and break stores at every named point, in long rounds
	$(BIN)/python -m pytest -m faults $(ARGS)

bench: $(TESTED) ## Measure; prints figures, judges nothing
	$(BIN)/python -m pytest -m benchmark -p no:randomly -s $(ARGS)

lint: $(TESTED) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy core plugins examples/third_party/forebay_example

docs: $(READY) ## Write the generated parts of docs/ again
	$(BIN)/python -m forebay.cli.documents docs

clean: ## Remove what the tools left behind; .venv and ./data stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find core plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Forebay needs Python 3.11 or newer; try: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(TESTED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(READY)
