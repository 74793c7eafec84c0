# Everything runs in .venv, which the first command makes. Written for GNU make
# 3.81 and later, so: no .ONESHELL, no `!=`, one shell line a command.

# The Python that .venv is made with. If this default is too old, or cannot make
# virtual environments, the names after it are tried; a PYTHON that you name
# yourself is taken at its word.
PYTHON ?= python3
ifeq ($(origin PYTHON),file)
  PYTHONS := $(PYTHON) python3.13 python3.12 python3.11
else
  PYTHONS := $(PYTHON)
endif

# More arguments for pytest, e.g. `make test PYTEST_ARGS='-k regret'`.
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2

# With a GPU and the `cuda` extra: `make demo JAX_PLATFORMS=cuda`.
JAX_PLATFORMS ?= cpu
export JAX_PLATFORMS
# Figures go to files; no window system is needed.
MPLBACKEND ?= Agg
export MPLBACKEND

PY := .venv/bin/python
# Touched when an installation is complete, and only then.
STAMP := .venv/.installed
# What builds the site is installed when it is first built.
DOCS_STAMP := .venv/.installed-docs
# Without a Python that starts, the stamp is worth nothing.
ifneq ($(shell $(PY) -c 'print(1)' 2>/dev/null),1)
  $(STAMP): incomplete
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo notebooks docs test lint format clean distclean incomplete

help:
	@echo 'make demo       the whole experiment in small: regret table and figures'
	@echo 'make notebooks  executes the notebooks, and stores what they show'
	@echo 'make docs       the documentation site, in docs/_build/html'
	@echo 'make test       all tests, and how much of the package they cover'
	@echo 'make lint       ruff: rules and formatting, changing nothing'
	@echo 'make format     ruff: repairs what it can, and formats'
	@echo 'make setup      .venv with everything installed (the others do it too)'
	@echo 'make clean      removes caches and build products; never runs/'
	@echo 'make distclean  make clean, and removes .venv'

setup: $(STAMP)

# An environment whose Python has gone (an upgrade, an interrupted start) is
# made anew; one that works is kept, and only its packages are updated.
$(STAMP): setup.py constraints.txt
	@$(PY) -c '' 2>/dev/null || { \
	  for python in $(PYTHONS); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	      2>/dev/null || continue; \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	    echo "Making .venv with $$python"; \
	    "$$python" -m venv --clear .venv; exit; \
	  done; \
	  echo 'error: needs Python >= 3.11 with venv (Debian: python3-venv);' \
	    'tried: $(PYTHONS). Name one: make PYTHON=/path/to/python3' >&2; \
	  exit 1; \
	}
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip
	@echo 'Installing into .venv (a few minutes the first time)'
	@$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(PY) -m launch.experiment --config=configs/quick.py --workdir=runs/demo

notebooks: $(STAMP)
	@$(PY) -m notebooks.execute

$(DOCS_STAMP): $(STAMP)
	@$(PY) -m pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

# A warning is an error.
docs: $(DOCS_STAMP)
	@$(PY) -m sphinx -q -W --keep-going -j 2 -b html docs docs/_build/html
	@echo 'The site is docs/_build/html/index.html'

# Coverage's own table is long; its total is what a reader of the log wants. Not
# every example of a test is measured (see tests/conftest.py), so it may be more.
test: $(STAMP)
	@$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder \
	  --cov=bayes_prompting --cov-report= $(PYTEST_ARGS)
	@total=$$($(PY) -m coverage report --format=total) && \
	  echo "Coverage of bayes_prompting: at least $$total%"

lint: $(STAMP)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: $(STAMP)
	@$(PY) -m ruff check --fix --quiet . ; $(PY) -m ruff format .

clean:
	@rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
	@rm -f .coverage .coverage.*
	@find . \( -path ./.venv -o -path ./.git -o -path ./runs \) -prune -o \
	  \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d \
	  -exec rm -rf {} +

distclean: clean
	@rm -rf .venv
