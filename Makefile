# Every target makes its own environment: a virtual environment in .venv with the CPU build of torch.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed
FOLDER ?= .demo
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench serve clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch first: its CPU build, so that nothing below pulls gigabytes of CUDA. Where that index cannot be reached,
# whatever build the usual one has.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch --index-url $(TORCH_INDEX_URL) --retries 1 || $(PIP) torch
	$(PIP) --editable '.[cpu,postgres,dev]'
	touch $@

# bergson without its dependencies: pyproject.toml says why, and lists those that it does use.
$(BENCH_STAMP): $(STAMP)
	$(PIP) --editable '.[bench]'
	$(PIP) --no-deps bergson
	touch $@

demo: $(STAMP) ## Index a small corpus, serve it, and ask which clips taught a motion (DEMO_KEEP=0: end by itself)
	$(BIN)/motiontrace demo run --folder $(FOLDER)

test: $(STAMP) ## Run the tests
	$(BIN)/python -m pytest

lint: $(STAMP) ## Check style, types and the arrows between the rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(BENCH_STAMP) ## Measure for over an hour: print tables, write JSON to benchmarks/results (docs/benchmarks.md)
	$(BIN)/python -m benchmarks

serve: $(STAMP) ## Serve the demo's index on http://127.0.0.1:8600
	$(BIN)/motiontrace serve --home $(FOLDER)/home

clean: ## Remove the environment and the demo's files
	rm -rf $(VENV) $(FOLDER)
