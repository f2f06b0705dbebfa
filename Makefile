# Every target works alone on a fresh machine: the first one makes the virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

SIZE ?= moderate
CXX_FILES := $(wildcard patchindex/kernels/native/*.cpp patchindex/kernels/native/*.hpp benchmarks/*.cpp)

.PHONY: demo test test-slow test-oldest coverage versions lint docs tidy bench faults sanitize notebooks wheel format clean

demo: $(READY)
	$(BIN)/patchindex build --dataset sample --scales 3,5,9,15 --out demo/sample.zarr
	$(BIN)/sampler run --index demo/sample.zarr --num 4 --steps 10 --retrieve --out demo/run --trace --overwrite
	$(BIN)/sampler explain demo/run
	@echo "Look at demo/run/samples.png; the table above says how far it is from exact."
	@echo "Open demo/run/explain.html in a browser to see where each pixel comes from."

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4

# The rest: kills and signals, back ends in processes of their own, kernels compiled for GPUs.
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow --numprocesses auto --maxprocesses 4

# The lines that the fast tests do not reach: many of them run on GPUs or in processes of their own.
coverage: $(READY)
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4 --cov

# The same tests with the oldest version that pyproject.toml admits of each package that it bounds.
test-oldest:
	mkdir -p build
	$(PYTHON) .ci/oldest > build/oldest.txt
	$(MAKE) versions test test-slow VENV=$(VENV)-oldest PIP_OPTIONS="--constraint build/oldest.txt"

versions: $(READY)
	@$(BIN)/python .ci/versions

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

# The site, which opens from the disk: build/site/index.html. A link that leads nowhere ends it, and so
# does a block of Python that does not run, or a command that is not there.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python -m pytest tests/docs

# Minutes, so it is no part of `lint`; headers are looked at where they are included.
tidy: $(READY)
	$(BIN)/clang-tidy --quiet --warnings-as-errors='*' $(wildcard patchindex/kernels/native/*.cpp) -- \
	  -std=c++17 $$($(BIN)/python -m pybind11 --includes)

bench: $(READY)
	$(BIN)/python -m benchmarks.accuracy

# SIZE=goal should take about half an hour on two cores; needs Linux
faults: $(READY)
	$(BIN)/python -m benchmarks.faults --size $(SIZE)

sanitize: $(READY)
	PYTHON=$(BIN)/python .ci/sanitize

# Executed from their first cell to their last; `.ci/notebooks --write` keeps what they show.
notebooks: $(READY)
	$(BIN)/python .ci/notebooks

# dist/: a source distribution and this system's wheel, tried in an empty environment without a compiler.
wheel:
	PYTHON=$(PYTHON) .ci/wheel

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CXX_FILES)

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-ci demo build dist *.egg-info

$(READY): pyproject.toml setup.py $(wildcard patchindex/kernels/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11. Give another: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]' $(PIP_OPTIONS)
	touch $@
