PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install quickstart test test-fast lint bench clean

help:
	@echo "make quickstart  install, then train, verify and package a small model (the main job)"
	@echo "make test        install, then run every test"
	@echo "make test-fast   the same without whole commands and other long tests"
	@echo "make install     only install; make lint, make bench: for developers"

install:
	@$(PYTHON) scripts/install.py

.PHONY: install-dev
install-dev:
	@$(PYTHON) scripts/install.py --dev

quickstart: install
	@$(BIN)/kitae quickstart

test: install-dev
	@$(BIN)/pytest

test-fast: install-dev
	@$(BIN)/pytest -m "not slow and not journey"

lint: install-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: install-dev
	@$(BIN)/python benchmarks/quickstart.py

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache
