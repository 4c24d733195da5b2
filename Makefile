# Every target works in the active virtual environment, or in .venv, which is made where none is active.
VENV   := $(or $(VIRTUAL_ENV),$(CURDIR)/.venv)
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.zephyrctl-installed
PYTHON ?= python3

.PHONY: help setup demo test drills check fix docs bench bench-gpu clean

help:            ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## Install zephyrctl with exact pins.

$(BIN)/python:
	$(PYTHON) -m venv "$(VENV)"

$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	@touch "$@"

demo: $(STAMP)   ## Train, align and measure a small real model, from data to report.
	"$(BIN)/zephyrctl" run -c examples/first-run/zephyr.yaml --yes

# One thread each, and bytecode kept also where the machine forbids it: the tests start hundreds of
# processes, each of which would compile the package anew, and every worker all tests.
PYTEST = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= \
         "$(BIN)/python" -m pytest -n 2 --dist worksteal

test: $(STAMP)   ## Run the whole test suite (no network, no GPU).
	$(PYTEST)

drills: $(STAMP) ## Break every stage in 25 ways, and look what stands afterwards (no network, no GPU).
	$(PYTEST) tests/drills

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

bench: $(STAMP)  ## Measure the start-up of the commands, and training steps beside TRL's, briefly.
	"$(BIN)/python" benchmarks/startup.py
	"$(BIN)/python" benchmarks/dpo_step.py --steps 2 --repeats 1
	"$(BIN)/python" benchmarks/sft_step.py --steps 1 --repeats 1

BENCH_DIR ?= /tmp/zephyrctl-bench
ON_GPU     = --device cuda --keep "$(BENCH_DIR)" --out benchmarks/results

# A leading "-": a race that breaks is kept as a result, and the next one runs.
bench-gpu: $(STAMP) ## Race 7B training steps against TRL's on one GPU (each race under 10 minutes).
	-"$(BIN)/python" benchmarks/dpo_step.py $(ON_GPU) --adapter lora
	-"$(BIN)/python" benchmarks/dpo_step.py $(ON_GPU) --adapter lora --lengths multi-turn
	-"$(BIN)/python" benchmarks/dpo_step.py $(ON_GPU)
	-"$(BIN)/python" benchmarks/sft_step.py $(ON_GPU) --adapter lora
	-"$(BIN)/python" benchmarks/sft_step.py $(ON_GPU)
	-"$(BIN)/python" benchmarks/dpo_step.py $(ON_GPU) --adapter lora --repeats 1 \
	    --contenders trl-best@4 trl-best@16 trl-best+compile@8 ours ours+compile \
	    --out-name dpo_step-cuda-sweep

clean:           ## Remove what the tools leave behind.
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
