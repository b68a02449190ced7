# make demo    from nothing to a running visual search over 70,000 products (ONCE=1: ends by itself, with a status)
# make test    all tests        make check   format, lint, types, import rule        make bench   the benchmarks
# Each sets up .venv first (a few minutes and 8 GB once). PYTHON=... chooses the interpreter, 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench clean

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON): install Python 3.11 or newer, or pass PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"visnet needs Python 3.11 or newer, $(PYTHON) is {v[0]}.{v[1]}: pass PYTHON=...")'
	@echo "== setting up $(VENV): a few minutes and 8 GB the first time"
	@$(PYTHON) -m venv $(VENV) || { echo "could not make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip setuptools
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m visnet.platform.demo $(if $(ONCE),--once)

test: $(STAMP)
	$(BIN)/python -m pytest tests/unit -n 2 --dist loadfile
	$(BIN)/python -m pytest --ignore tests/unit --durations 15

check: $(STAMP)
	@.ci/check

bench: $(STAMP)
	@for benchmark in $(filter-out benchmarks/timing.py benchmarks/pictures.py benchmarks/load.py,$(wildcard benchmarks/*.py)); do echo "== $$benchmark"; $(BIN)/python "$$benchmark" || exit 1; done

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
