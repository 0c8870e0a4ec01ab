# Every target makes its own virtual environment first: `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
GALLERY ?= 1
WORKERS ?= 2
# Threads that wait sleep, so that other work on the machine costs what it computes (docs/guide/shared_machines.md).
OMP_WAIT_POLICY ?= PASSIVE
export OMP_WAIT_POLICY
# Without cached bytecode, each worker and each subprocess of the tests compiles the package and the tests again.
unexport PYTHONDONTWRITEBYTECODE

# Workers share the cores, so each process computes with one thread.
test test-random test-fast: export OMP_NUM_THREADS ?= 1

.PHONY: install demo demo-live test test-random test-fast docs figures format check constraints clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[align,distributed,hdf5,hub,live,plot,speech,test]"
	touch $@

demo: install
	$(BIN)/python examples/plot_1_decode_listening.py

# An attended talker, decoded while a recording is replayed through LSL on this machine; the page is at the printed address.
demo-live: install
	$(BIN)/python tools/demo_live.py

test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# In another order each time: `make test-random SEED=1`.
SEED ?= $(shell date +%s)
test-random: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --random-order --random-order-seed=$(SEED)

test-fast: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

$(VENV)/.docs: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

# The pages, in docs/_build/html; they are executed, which takes some minutes. `make docs GALLERY=0` leaves that out.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html -D plot_gallery=$(GALLERY) docs docs/_build/html

# The figures of the pages, in docs/_static/figures.
figures: install
	$(BIN)/python tools/draw_figures.py

$(VENV)/.dev: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

format: $(VENV)/.dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

check: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

$(VENV)/.fetch: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[fetch]"
	touch $@

constraints: $(VENV)/.dev $(VENV)/.docs $(VENV)/.fetch
	( echo "# Exact versions of everything \`make\` installs; refresh with \`make constraints\`."; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' ) > constraints.txt

clean:
	rm -rf $(VENV) demo_output examples/demo_output docs/_build docs/auto_examples docs/generated build dist *.egg-info
