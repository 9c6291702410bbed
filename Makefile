# Every target sets itself up: a virtual environment in .venv, pinned by constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
READY := $(VENV)/.ready
DEMO := $(VENV)/.demo
DOCS := $(VENV)/.docs
JAX := $(VENV)/.jax
BROWSER := $(VENV)/browser

.PHONY: demo test test-fast check format docs tables notebooks lab bench bench-fast clean

demo: $(DEMO)  ## selfish agents fail, sharing agents solve: three dilemmas, a table and figures
	$(BIN)/bilevel demo

test: $(READY) $(BROWSER)  ## every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

FAST := tests/games/core tests/bilevel/core tests/bilevel/nn tests/bilevel/optimizers tests/bilevel/sharing

test-fast: $(READY)  ## laws, closed forms and doctests: under a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4 --dist loadfile $(FAST) games bilevel

check: $(READY)  ## lint, format, types and language
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.language

format: $(READY)  ## rewrite the files as `make check` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Without --fresh-env the search would lose the index entries of pages that have not changed.
docs: $(DOCS)  ## the site, into docs/_build/html: open docs/_build/html/index.html
	$(BIN)/python -m sphinx --builder html --fresh-env --jobs auto --fail-on-warning --keep-going --quiet docs docs/_build/html

tables: $(READY)  ## run the commands behind the documents' tables, into runs/tables (a night or more); start again to continue
	$(BIN)/python -m docs.studies.tables $(ARGS)

notebooks: $(READY)  ## execute every lesson and rewrite what it shows (under 3 minutes each)
	$(BIN)/python notebooks/build.py

lab: $(READY)  ## open the lessons in JupyterLab
	$(PIP) jupyterlab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

bench: $(JAX)  ## time against loops by hand, TorchOpt, higher and JAX; writes tests/benchmarks/RESULTS.md (about two hours)
	$(BIN)/python -m tests.benchmarks

bench-fast: $(JAX)  ## the same with small sizes, into runs/bench-fast: does it work?
	$(BIN)/python -m tests.benchmarks --fast

clean:  ## remove the virtual environment
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bilevel needs Python 3.11 or later; set one with: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(DEMO): setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) --editable '.[games]'
	touch $@

$(READY): setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) --editable '.[axelrod,dev,docs,environments,films,games,learners,lessons,lightning,openspiel,parquet,ray,rivals,sweeps,tasks,trackers,transformers]'
	touch $@

$(DOCS): setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch
	$(PIP) --editable '.[docs,games,tasks]'
	touch $@

$(BROWSER): tests/browser.sh | $(BIN)/python
	tests/browser.sh $@
	touch $@

# JAX is only compared with; where it cannot be installed the benchmarks run without it, and say so.
$(JAX): $(READY)
	$(PIP) --editable '.[bench]' \
		&& touch $@ || echo 'JAX cannot be installed here: the benchmarks run without it.'
