# `make demo` and `make test` do all their own set-up, in .venv (or in VENV, where it is given).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --editable ".[dev,demo]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/safeconvert demo

# Two processes share the models of a session; a process that is done takes tests over from the other.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff check .

# Types are checked on the package as it installs, not as it lies here: the folders are mapped.
types: $(VENV)/.installed
	rm -rf build/types && $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target build/types .
	MYPYPATH=build/types $(BIN)/python -m mypy -p safeconvert

clean:
	rm -rf build demo-output .mypy_cache .pytest_cache .ruff_cache
