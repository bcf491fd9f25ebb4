# Every target works on a machine that has nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP = $(VENV)/.installed-$(1)

# Without these glibc gives the memory of every batch back to the system and fetches it anew for the next one, which
# costs training on the CPU a third of its time. Other systems take no notice.
export MALLOC_TRIM_THRESHOLD_ := 2147483648
export MALLOC_MMAP_THRESHOLD_ := 33554432

.PHONY: demo test lint docs bench clean

demo: $(call STAMP,core)
	$(BIN)/python -m sklearn_shortcuts demo --output demo

test: $(call STAMP,dev)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(call STAMP,dev)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(call STAMP,docs)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(call STAMP,bench)
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(call STAMP,core): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) demo docs/_build docs/generated docs/gallery
