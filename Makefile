# Everything runs inside .venv, which the first target that needs it makes. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for name in python3.11 python3.12 python3; do \
  "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo "$$name"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
TORCH_VERSION := 2.13.0
PIP_AUDIT_VERSION := 2.9.0
# Which torch build `make torch` takes: an index (for example PyTorch's CPU index, see README.md) or a folder of wheels.
TORCH_INDEX_URL ?=
TORCH_WHEEL_DIR ?=

# Like pip and curl, uv then trusts the certificates of the machine, such as those of a company's proxy.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif

SERVICES := $(notdir $(patsubst %/,%,$(wildcard services/*/)))
LIBS := stubs kit media
MANIFESTS := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml) constraints.txt overrides.txt
EDITABLE := $(foreach lib,$(LIBS),-e libs/$(lib)) -e 'libs/client[local]' $(foreach service,$(SERVICES),-e services/$(service))
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --overrides overrides.txt
SOURCES := $(wildcard libs/kit/src libs/media/src libs/client/src services/*/src) tests tools bench deploy

PORTRAIT ?=
AUDIO ?=
TEXT ?=
ARGS ?=
FUZZ_S ?= 60

IMAGE_TAG ?= 0.1.0
IMAGE_ARGS ?=
TORCH_BUILD ?= none

.PHONY: fuzz audit images compose-up test-containers test-network locks deploy-files help demo up test lint format types imports proto proto-check bench torch dev clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Make a talking video: out/demo.mp4 (PORTRAIT=… AUDIO=… take your own)
	@$(BIN)/visema demo $(if $(PORTRAIT),--portrait '$(PORTRAIT)') $(if $(AUDIO),--audio '$(AUDIO)') $(if $(TEXT),--text '$(TEXT)') $(ARGS)

up: $(VENV)/.runtime ## Run the whole stack on this machine until Ctrl-C
	@$(BIN)/visema up $(ARGS)

test: $(VENV)/.dev ## Run all tests (ARGS='-k name' for some); skips what this machine lacks, with the reason
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

fuzz: $(VENV)/.dev ## Feed damaged media to every reader for a minute (FUZZ_S=3600 for an hour)
	@PYTHONPATH=tests $(BIN)/python tools/fuzz_media.py --seconds $(FUZZ_S) $(ARGS)

lint: $(VENV)/.dev ## Check style, formatting and import contracts
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet $(SOURCES)

types: $(VENV)/.dev ## Check types strictly
	@$(BIN)/mypy $(filter %/src,$(SOURCES)) deploy/locks/make_locks.py
	@MYPYPATH=deploy $(BIN)/mypy deploy/generate.py
	@MYPYPATH=bench:tests:tools $(BIN)/mypy --follow-imports silent bench tools

proto: $(VENV)/.dev ## Generate libs/stubs from protos/
	@$(BIN)/python tools/protogen.py generate

proto-check: $(VENV)/.dev ## Stubs fresh, proto style clean, no breaking change
	@$(BIN)/python tools/protogen.py check

bench: $(VENV)/.dev ## Measure this machine
	@$(BIN)/visema bench $(ARGS)

torch: $(VENV)/.runtime ## Install torch for the neural engines (TORCH_INDEX_URL or TORCH_WHEEL_DIR choose the build)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet \
	  $(if $(TORCH_INDEX_URL),--index-url '$(TORCH_INDEX_URL)') $(if $(TORCH_WHEEL_DIR),--find-links '$(TORCH_WHEEL_DIR)') torch==$(TORCH_VERSION)
	@$(INSTALL) safetensors

dev: $(VENV)/.dev ## Prepare the development environment

images: ## Build every service's image (TORCH_BUILD=none|cpu|cuda chooses torch for liveportrait and wav2lip)
	@for service in $(SERVICES); do \
	  [ -f services/$$service/Dockerfile ] || continue; \
	  docker build -f services/$$service/Dockerfile -t visema/$$service:$(IMAGE_TAG) $(IMAGE_ARGS) \
	    $$(grep -q '^ARG TORCH_BUILD' services/$$service/Dockerfile && echo --build-arg TORCH_BUILD=$(TORCH_BUILD) \
	       --build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL)) .; done

compose-up: ## Run everything in containers with Prometheus and Grafana; says where things are
	@deploy/compose-up.sh

test-containers: $(VENV)/.dev ## Build the images and run a job through the compose stack (needs a Docker engine)
	@$(BIN)/python tests/deploy/containers.py

test-network: $(VENV)/.dev ## Run jobs over a slow network that loses packets and breaks (needs root and /dev/net/tun; ARGS=--help)
	@PYTHONPATH=tests $(BIN)/python tests/deploy/network.py $(ARGS)

locks: $(VENV)/.dev ## Write the hashed locks of the images again
	@$(BIN)/python deploy/locks/make_locks.py

audit: $(VENV)/.uv ## Look for known vulnerabilities in what the images install (ARGS='-s osv' asks OSV instead of PyPI)
	@failed=; for lock in deploy/locks/*.txt; do \
	  echo "$$lock"; \
	  $(BIN)/uv tool run --quiet --from pip-audit==$(PIP_AUDIT_VERSION) pip-audit --strict --disable-pip --require-hashes \
	    --progress-spinner off -r "$$lock" $(ARGS) || failed+=" $$lock"; \
	done; \
	[ -z "$$failed" ] || { echo "not audited, or vulnerable:$$failed"; \
	  echo "\"Dependency not found\" and connection errors mean that the service has no data here: see make audit in docs/operations.md"; exit 1; }

deploy-files: $(VENV)/.dev ## Write dashboards and PrometheusRule again
	@$(BIN)/python deploy/generate.py

clean: ## Remove the environment, outputs and caches
	@rm -rf $(VENV) out .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.uv:
	@[ -n "$(PYTHON)" ] || { echo "VISEMA needs Python 3.11 or 3.12 (Debian/Ubuntu: sudo apt-get install python3 python3-venv)"; exit 1; }
	@echo "preparing $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: sudo apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(VENV)/.runtime: $(MANIFESTS) | $(VENV)/.uv
	@echo "installing VISEMA"
	@$(INSTALL) $(EDITABLE)
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@$(INSTALL) -r requirements-dev.txt
	@touch $@
