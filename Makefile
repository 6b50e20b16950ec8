# Needs python3 ≥ 3.11, make and a package index; everything else lands in .venv.

PYTHON ?= python3
# Two workers: most tests train something small on one thread. Each takes whole runs of neighbours, which share what a
# file makes once, and what is left of the other's when it is done.
PYTEST_ARGS ?= -n 2 --dist worksteal

BIN := .venv/bin
STAMP := .venv/.stamp

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test families check oldest bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make .venv with every extra, at the versions of constraints.txt

demo: $(STAMP) ## train, score and explain a small model on the built-in corpus
	$(BIN)/earsight demo

test: $(STAMP) ## run the tests; PYTEST_ARGS="-n 4 -k mel" goes to pytest
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

families: $(STAMP) ## every family of networks through training and export; writes docs/networks-measured.md
	FAMILIES_TABLE=docs/networks-measured.md $(BIN)/python -m pytest -q -m "slow or not slow" -k contract \
		tests/tasks/test_families.py

check: $(STAMP) ## format, lint, types, import order, tests: what CI runs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

oldest: $(STAMP) ## the tests with the oldest versions that pyproject.toml allows, in .venv-oldest
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-oldest
	$(BIN)/uv pip install -q --python .venv-oldest/bin/python --compile-bytecode --resolution lowest-direct -e '.[all]'
	.venv-oldest/bin/python -m pytest -q $(PYTEST_ARGS)

bench: $(STAMP) ## run every script in benchmarks/
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python "$$script"; done

# Resolved for the oldest Python that we support, from wheels alone; newer Pythons take the same versions.
lock: $(STAMP) ## move constraints.txt to the newest versions that work together
	$(BIN)/uv pip compile pyproject.toml --all-extras --upgrade --only-binary :all: \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links -q -o .venv/lock.txt
	{ cat .venv/lock.txt; $(BIN)/uv --version | awk '{ print "uv==" $$2 }'; } | LC_ALL=C sort > constraints.txt

clean: ## remove .venv, caches and build outputs; runs/ and data/ stay
	rm -rf .venv .venv-oldest build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(wildcard src tests benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +

# --compile-bytecode: where PYTHONDONTWRITEBYTECODE is set, importing timm uncompiled costs 20 s in every process.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "earsight needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1)." \
			"Run: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[all]'
	@touch $@
