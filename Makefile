# Every target works alone on a fresh machine: the first one makes the virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench sanitize format clean

demo: $(READY)
	$(BIN)/patchindex build --dataset sample --scales 3,5,9,15 --out demo/sample.zarr
	$(BIN)/sampler run --index demo/sample.zarr --num 4 --steps 10 --out demo/run --trace --overwrite
	$(BIN)/sampler explain demo/run
	@echo "Look at demo/run/samples.png; the table above says how far it is from exact."
	@echo "Open demo/run/explain.html in a browser to see where each pixel comes from."

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks.accuracy

sanitize: $(READY)
	PYTHON=$(BIN)/python .ci/sanitize

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build *.egg-info

$(READY): pyproject.toml setup.py $(wildcard patchindex/kernels/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11. Give another: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
