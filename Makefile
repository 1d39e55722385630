# On a fresh machine with Python 3.10 or newer, git and make:
#   make demo   runs the examples, offline
#   make test   runs the tests
# Everything is installed into .venv, in the versions of .ci/constraints; a second run installs nothing. Choose a Python
# with PYTHON=python3.12.

VENV := .venv
BIN := $(VENV)/bin
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10)
CONSTRAINTS := .ci/constraints
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet
INSTALL_PROJECT := $(INSTALL) --build-constraint $(CONSTRAINTS)/build.txt
# Campaigns are for each night: make test MARKS=nightly runs these, MARKS= everything.
MARKS := not nightly
IS_NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 10))'

.PHONY: help demo test lint types benchmarks constraints dependencies clean

help:
	@echo "make demo        run the examples, offline"
	@echo "make test        run the tests (choose some: make test TESTS=tests/unit; all: make test MARKS=)"
	@echo "make lint        check style and format"
	@echo "make types       check types"
	@echo "make benchmarks  measure what ProofMap adds to pytest's time and memory"
	@echo "make constraints resolve anew with which versions this project itself is installed"
	@echo "make dependencies  write a bill of materials and an audit of what users install"
	@echo "make clean       remove $(VENV) and everything that was built"

demo: $(VENV)/.installed
	@$(BIN)/proofmap demo example_project

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m '$(MARKS)' $(TESTS)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	@$(BIN)/mypy --strict

benchmarks: $(VENV)/.installed-dev
	@$(BIN)/python benchmarks/run.py

constraints: $(BIN)/python
	@$(INSTALL) uv
	@UV=$(BIN)/uv $(CONSTRAINTS)/renew

dependencies: $(BIN)/python
	@$(BIN)/python .ci/dependencies build/dependencies

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf example_project/*/.proofmap
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for candidate in $(CANDIDATES); do \
		if $$candidate -c $(IS_NEW_ENOUGH) 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: no Python 3.10 or newer among: $(CANDIDATES)." >&2; \
		echo "make: install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	echo "Creating $(VENV) with $$($$python --version)"; \
	if ! $$python -m venv $(VENV); then \
		rm -rf $(VENV); \
		echo "make: $$python cannot create a virtual environment." >&2; \
		echo "make: on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	fi
	@touch -c $@

# Older ones know neither dependency groups nor constraints of what builds.
$(VENV)/.pip: $(CONSTRAINTS)/build.txt | $(BIN)/python
	@$(INSTALL) --constraint $(CONSTRAINTS)/build.txt 'pip>=25.3'
	@touch $@

$(VENV)/.installed: pyproject.toml pytest_proofmap/_version.py $(CONSTRAINTS)/demo.txt $(VENV)/.pip
	@echo "Installing pytest-proofmap into $(VENV)"
	@$(INSTALL_PROJECT) --constraint $(CONSTRAINTS)/demo.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml pytest_proofmap/_version.py $(CONSTRAINTS)/test.txt $(VENV)/.pip
	@echo "Installing pytest-proofmap and what its development needs into $(VENV)"
	@$(INSTALL_PROJECT) --constraint $(CONSTRAINTS)/test.txt --group dev --editable .
	@touch $@ $(VENV)/.installed
