# Every task that is started by hand. `make` without a target lists them; .venv is set up automatically, once.

STUDY ?= studies/quick.yaml
DATA ?= data/sample/xray
FACES ?= data/sample/faces
SET ?=
OVERLAY ?= kubeflow
REGISTRY ?= localhost
KUBECTL ?= kubectl
PYTHON ?= python3.13 python3.12 python3.11 python3
UPGRADE ?=

BIN := .venv/bin
READY := .venv/ready
PIN := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command 'make lock'
SETTINGS := $(foreach change,$(SET),--set '$(change)')
ON_CLUSTER = --study '$(STUDY)' --data '$(DATA)' --faces '$(FACES)' $(SETTINGS) $(if $(GPUS),--gpus '$(GPUS)')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check bench submit schedule status cancel image format golden lock clean deploy undeploy

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  make run reads STUDY=$(STUDY) DATA=$(DATA) FACES=$(FACES)'
	@echo '  and SET="side=32 generators.simple.epochs=5", settings by name, none with a space in it'
	@echo '  make image reads REGISTRY=ghcr.io/hospital BUILDER=podman HUB=mirror.hospital/library BUILD_OPTIONS=...'
	@echo '  PYTHON=python3.12 sets up with that one in place of the first that fits'

run: $(READY) ## run a whole study: set-up, training, table and report in runs/
	@$(BIN)/syntrial run --study '$(STUDY)' --data '$(DATA)' --faces '$(FACES)' $(SETTINGS)

test: $(READY) ## run all tests
	@$(BIN)/python -m pytest

check: $(READY) ## the one gate: style, types, imports, then all tests; CI runs it, and then tests/cluster
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: $(READY) ## measure the loops against bare ones
	@$(BIN)/syntrial bench

submit: $(READY) ## run a study on a cluster (WAIT=1: until its table is there); KFP_ENDPOINT says which
	@$(BIN)/syntrial submit $(ON_CLUSTER) $(if $(WAIT),--wait)

schedule: $(READY) ## run it there again and again: CRON="0 0 3 * * 1", the first field is the second
	@$(BIN)/syntrial schedule $(ON_CLUSTER) --cron '$(CRON)' $(if $(NAME),--name '$(NAME)')

status: $(READY) ## show the runs on the cluster, or RUN=name with its boxes
	@$(BIN)/syntrial status $(RUN)

cancel: $(READY) ## end RUN=name on the cluster
	@$(BIN)/syntrial cancel $(RUN)

image: | $(BIN)/python ## build the images (IMAGES=light builds that one) and push them to REGISTRY, where one is named
	@PYTHONPATH=src REGISTRY='$(REGISTRY)' $(BIN)/python -m pipelines.cluster.build_images $(IMAGES)

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(READY) ## write again the compiled studies that tests compare with; review their diff
	@GOLDEN=write $(BIN)/python -m pytest -q tests/pipelines/cluster/test_place.py -k golden

lock: $(BIN)/uv ## pin anew what pyproject.toml asks for (UPGRADE=--upgrade: to the newest)
	$(PIN) --group dev $(UPGRADE) --output-file requirements.lock pyproject.toml
	$(PIN) --group light --constraint requirements.lock --output-file images/light.lock
	$(PIN) --group train --constraint requirements.lock --output-file images/train.lock
	echo kfp | $(PIN) --no-deps --constraint requirements.lock --output-file images/kfp.lock -

clean: ## remove .venv and caches, never runs/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build src/*.egg-info
	find components pipelines src tests -name __pycache__ -prune -exec rm -rf {} +

deploy: | $(BIN)/python ## install MinIO, rights and settings on a cluster (OVERLAY=kubeflow or laptop, REGISTRY=)
	@PYTHON=$(BIN)/python REGISTRY='$(REGISTRY)' KUBECTL='$(KUBECTL)' k8s/deploy '$(OVERLAY)'

undeploy: ## remove them again; data only with DATA=delete
	@KUBECTL='$(KUBECTL)' k8s/undeploy '$(OVERLAY)' $(filter delete,$(DATA))

# If uv fails, pip tries: uv does not read pip's settings, such as a mirror or its certificate.
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
	  echo "Python has no module for virtual environments; apt-get install $$package installs it" >&2; \
	else \
	  echo 'syntrial needs Python 3.11, 3.12 or 3.13, and none of "$(PYTHON)" is one; PYTHON=/path/to/python names another' >&2; \
	fi; \
	exit 1
