# Everything done by hand here. `make` alone lists it; set-up happens by itself, once, in .venv.

STUDY ?= studies/quick.yaml
DATA ?= data/sample/xray
FACES ?= data/sample/faces
SET ?=
PYTHON ?= python3.13 python3.12 python3.11 python3
UPGRADE ?=

BIN := .venv/bin
READY := .venv/ready
SETTINGS := $(foreach change,$(SET),--set '$(change)')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check bench format lock clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  make run reads STUDY=$(STUDY) DATA=$(DATA) FACES=$(FACES)'
	@echo '  and SET="side=32 gans.simple.epochs=5", settings by name, none with a space in it'
	@echo '  PYTHON=python3.12 sets up with that one in place of the first that fits'

run: $(READY) ## run a whole study: set-up, training, table and report in runs/
	@$(BIN)/python -m pipelines run --study '$(STUDY)' --data '$(DATA)' --faces '$(FACES)' $(SETTINGS)

test: $(READY) ## run all tests
	@$(BIN)/python -m pytest

check: $(READY) ## the one gate, the same here and in CI: style, types, imports, then all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: $(READY) ## measure the loops against bare ones
	@$(BIN)/python -m pipelines bench

format: $(READY) ## put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(BIN)/uv ## pin anew what pyproject.toml asks for (UPGRADE=--upgrade: to the newest)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
	  --custom-compile-command 'make lock' $(UPGRADE) --output-file requirements.lock pyproject.toml

clean: ## remove .venv and caches, never runs/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build src/*.egg-info
	find components pipelines src tests -name __pycache__ -prune -exec rm -rf {} +

# pip has the second try: uv does not read pip's settings, such as a mirror or its certificate.
$(READY): requirements.lock pyproject.toml | $(BIN)/uv
	@echo 'setting up .venv: once, about 3 GB to download for PyTorch'
	@$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.lock \
	  || $(BIN)/python -m pip install --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/uv: | $(BIN)/python
	@awk '/^[a-z]/ {ours = /^uv==/} ours' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --require-hashes -r .venv/uv.lock

$(BIN)/python:
	@for python in $(PYTHON); do \
	  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
	  $$python -c 'import ensurepip, venv' 2>/dev/null && exec $$python -m venv --clear .venv; \
	  package=$${package:-$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')}; \
	done; \
	if [ -n "$$package" ]; then \
	  echo "Python is here, but its part that makes virtual environments is not; apt-get install $$package brings it" >&2; \
	else \
	  echo 'syntrial needs Python 3.11, 3.12 or 3.13, and none of "$(PYTHON)" is one; PYTHON=/path/to/python names another' >&2; \
	fi; \
	exit 1
