# Every target works in the active virtual environment, or in .venv, which is made where none is active.
VENV   := $(or $(VIRTUAL_ENV),$(CURDIR)/.venv)
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.zephyrctl-installed
PYTHON ?= python3

.PHONY: help setup demo test check fix docs bench clean

help:            ## Show the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## Install zephyrctl with exact pins.

$(BIN)/python:
	$(PYTHON) -m venv "$(VENV)"

$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	@touch "$@"

demo: $(STAMP)   ## Train, align and measure a small real model, from data to report.
	"$(BIN)/zephyrctl" run -c examples/first-run/zephyr.yaml --yes

test: $(STAMP)   ## Run the whole test suite (no network, no GPU).
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE "$(BIN)/python" -m pytest

check: $(STAMP)  ## Run the style, type, layering, size and documentation gates.
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .
	"$(BIN)/basedpyright" --pythonpath "$(BIN)/python" --level error
	"$(BIN)/lint-imports"
	"$(BIN)/python" scripts/check_sizes.py
	"$(BIN)/python" scripts/generate_docs.py --check

fix: $(STAMP)    ## Format, mend what ruff can mend, and write the generated reference.
	"$(BIN)/ruff" format .
	"$(BIN)/ruff" check --fix .
	"$(BIN)/python" scripts/generate_docs.py

docs: $(STAMP)   ## Write the generated reference.
	"$(BIN)/python" scripts/generate_docs.py

bench: $(STAMP)  ## Measure the start-up of the commands.
	"$(BIN)/python" benchmarks/startup.py

clean:           ## Remove what the tools leave behind.
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
