# `make demo` runs the main job on ImageNet weights and a photo; `make test` runs every check;
# `make docs` builds the site of the documentation into build/site.
# Each makes its own environment in .venv first, from pyproject.toml.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint pytest docs clean

# A process of tests a core, up to eight; each imports torch, which takes seconds and a gigabyte.
PARALLEL := --numprocesses logical --maxprocesses 8 --dist worksteal

help:
	@echo "make demo   EfficientNet-Lite0 with its ImageNet weights: convert, prove, export, compare"
	@echo "make test   ruff, mypy --strict and the tests"
	@echo "make lint   ruff and mypy alone"
	@echo "make docs   the documentation as a site, in build/site; a broken link stops it"
	@echo "make clean  remove .venv and what the tools leave behind"

demo: $(VENV)/.demo
	$(BIN)/python examples/efficientnet_lite0.py

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs 2 lint pytest

pytest: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html"

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.dev: EXTRAS := dev,timm,demo
$(VENV)/.demo: EXTRAS := demo
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.dev $(VENV)/.demo $(VENV)/.docs: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "installing dynsurgeon[$(EXTRAS)] into $(VENV) (torch is large: this takes minutes)"
	$(PIP) install --quiet --quiet --editable ".[$(EXTRAS)]"
	@touch $@
