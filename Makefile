# Every target makes its own virtual environment first: `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-fast format check constraints clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[plot,test]"
	touch $@

demo: install
	$(BIN)/python examples/plot_1_decode_listening.py

test: install
	$(BIN)/python -m pytest

test-fast: install
	$(BIN)/python -m pytest -m "not slow"

$(VENV)/.dev: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

format: $(VENV)/.dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

check: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

constraints: $(VENV)/.dev
	( echo "# Exact versions of everything \`make\` installs; refresh with \`make constraints\`."; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' ) > constraints.txt

clean:
	rm -rf $(VENV) demo_output build dist *.egg-info
