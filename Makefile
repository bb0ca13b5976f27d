# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Each works alone on a machine that has only Python 3.11 or 3.12.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
LOCK := trainer_image/requirements.lock
INSTALLED := $(VENV)/.installed
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
CHARTS := training-job ray-cluster
HELM = $(or $(wildcard $(BIN)/helm),helm)
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --no-deps
# torch as most package indexes have it needs CUDA's packages beside it; PyTorch's build for CPUs asks for none.
FOR_CUDA := import sys; from importlib.metadata import requires; sys.exit(not any(r.startswith(('nvidia-', 'cuda-')) for r in requires('torch')))
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do $$p -c "$(SUITABLE)" 2>/dev/null && echo $$p && break; done)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | column -t -s '|'

$(INSTALLED): $(LOCK) trainer_image/build.lock trainer_image/cuda.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "tadrib needs Python 3.11 or 3.12 (transformers 5.23 asks for 3.11). Install one, or name it: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "installing into $(VENV) with $$($(PYTHON) --version); once, about two minutes"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing (Debian: apt-get install python3-venv)"; exit 2; }
	@$(INSTALL) --require-hashes -r trainer_image/build.lock
	@$(INSTALL) --require-hashes --no-build-isolation -r $(LOCK)
	@! $(BIN)/python -c "$(FOR_CUDA)" || $(INSTALL) --require-hashes -r trainer_image/cuda.lock
	@$(BIN)/pip check --quiet --disable-pip-version-check
	@$(INSTALL) --no-build-isolation --editable .
	@$(BIN)/python tools/get_helm.py || echo "without helm, the tests of charts are skipped"
	@touch $@

.PHONY: install
install: $(INSTALLED) ## Create .venv with the locked requirements and the project

.PHONY: demo
demo: $(INSTALLED) ## Train a tiny Arabic model on two workers, then ask it questions it has not seen
	@$(BIN)/python examples/demo.py

.PHONY: test
test: $(INSTALLED) ## Run every test that this machine can run
	@OMP_NUM_THREADS=1 RAY_AUTH_MODE=disabled $(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder

.PHONY: coverage
coverage: $(INSTALLED) ## As test, and print which share of the lines it runs; without slowing down on Python 3.12
	@COVERAGE_CORE=sysmon OMP_NUM_THREADS=1 RAY_AUTH_MODE=disabled $(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder --cov

.PHONY: test-faults
test-faults: $(INSTALLED) ## Kill workers, nodes and drivers, fill disks, break stores; every run must come back
	@RAY_AUTH_MODE=disabled $(BIN)/python -m pytest -s -m faults tests/faults

.PHONY: fuzz
fuzz: $(INSTALLED) ## Try 100,000 hostile specs, rows, files, run directories and models; each must end well or in an error of ours
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs 100000

.PHONY: test-architectures
test-architectures: $(INSTALLED) ## Compare every model family with transformers' own forward; writes docs/models.md
	@OMP_NUM_THREADS=2 $(BIN)/python -m tests.architectures

.PHONY: image
image: ## Build the container image with Docker; DEVICE=cpu for one without CUDA (docs/image.md)
	@trainer_image/build.sh

.PHONY: sbom
sbom: ## Write the bill of materials (CycloneDX) of the image IMAGE to build/sbom.cdx.json, as building it does
	@mkdir -p build
	@$${DOCKER:-docker} run --rm --network none --entrypoint cat $${IMAGE:-tadrib:dev} /opt/tadrib/share/tadrib/sbom.cdx.json > build/sbom.cdx.json

.PHONY: test-image
test-image: $(INSTALLED) image ## Run the image as its pods run it: no root, read-only, no network; stop it and go on
	@$(BIN)/python -m pytest -s -m docker tests/image

.PHONY: kind-up
kind-up: $(INSTALLED) ## Make a kind cluster with the CPU image, the KubeRay operator and a tiny model (docs/kubernetes.md)
	@manifests/kind/up.sh

.PHONY: kind-test
kind-test: $(INSTALLED) ## Run charts and command line on that cluster, or on the one of KUBECONFIG, with IMAGE
	@$(BIN)/python -m pytest -s -m cluster tests/kind

.PHONY: kind-down
kind-down: ## Delete the kind cluster
	@manifests/kind/down.sh

.PHONY: lint
lint: $(INSTALLED) ## Formatting, lint, types, and generated files that must be current
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy charts/training-job/files/check.py trainer_image/lock.py trainer_image/smoke.py
	@$(BIN)/python -m tools.spec_schema --check
	@$(BIN)/python -m tools.chart_schema --check
	@$(BIN)/python examples/make_data.py --check

.PHONY: docs
docs: $(INSTALLED) ## Build the documentation as a site, into build/site; a broken link or reference is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

.PHONY: format
format: $(INSTALLED) ## Format the code and fix what lint can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: generate
generate: $(INSTALLED) ## Rewrite what is generated: the spec's schema and reference, the charts' values, the bundled data
	@$(BIN)/python -m tools.spec_schema
	@$(BIN)/python -m tools.chart_schema
	@$(BIN)/python examples/make_data.py

.PHONY: bench
bench: $(INSTALLED) ## Measure against TRL and torchrun on this machine; takes an hour or more
	@$(BIN)/python -m benchmarks.sft --json benchmarks/results/sft-cpu.json
	@$(BIN)/python -m benchmarks.preference --json benchmarks/results/preference-cpu.json
	@$(BIN)/python -m benchmarks.preference --gradient-checkpointing --json benchmarks/results/preference-cpu-checkpointing.json
	@$(BIN)/python -m benchmarks.data --json benchmarks/results/data-cpu.json
	@$(BIN)/python -m benchmarks.overhead --json benchmarks/results/overhead-cpu.json
	@$(BIN)/python -m benchmarks.goodput --json benchmarks/results/goodput-cpu.json

.PHONY: lock
lock: $(INSTALLED) ## Resolve trainer_image/requirements.in into the lock
	@$(BIN)/python trainer_image/lock.py

.PHONY: charts
charts: $(INSTALLED) ## Lint the charts and package them into build/charts
	@rm -rf build/charts
	@for chart in $(CHARTS); do $(HELM) lint --quiet charts/$$chart && $(HELM) package --destination build/charts charts/$$chart; done

.PHONY: push-charts
push-charts: charts ## Push the packaged charts to CHART_REPOSITORY, an oci:// URL; REGISTRY_USER and REGISTRY_TOKEN log in
	@[ -z "$${REGISTRY_TOKEN:-}" ] || $(HELM) registry login "$$(cut -d / -f 3 <<< '$(CHART_REPOSITORY)')" \
		--username "$$REGISTRY_USER" --password-stdin <<< "$$REGISTRY_TOKEN"
	@for chart in build/charts/*.tgz; do $(HELM) push "$$chart" '$(CHART_REPOSITORY)'; done

.PHONY: push-image
push-image: ## Push the image IMAGE, whose name says where to; REGISTRY_USER and REGISTRY_TOKEN log in
	@[ -z "$${REGISTRY_TOKEN:-}" ] || $${DOCKER:-docker} login "$$(cut -d / -f 1 <<< '$(IMAGE)')" \
		--username "$$REGISTRY_USER" --password-stdin <<< "$$REGISTRY_TOKEN"
	@$${DOCKER:-docker} push '$(IMAGE)'

.PHONY: dist
dist: $(INSTALLED) ## Build wheel and source distribution into build/dist
	@rm -rf build/dist
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir build/dist

.PHONY: publish
publish: $(INSTALLED) ## Upload build/dist to the package index
	@$(BIN)/uv publish build/dist/*

.PHONY: release-notes
release-notes: $(INSTALLED) ## Check that TAG is the version everywhere, and write its notes to build/release-notes.md
	@mkdir -p build
	@$(BIN)/python -m tools.release '$(TAG)' > build/release-notes.md

.PHONY: clean
clean: ## Remove the virtual environment, runs, models and caches
	@rm -rf $(VENV) runs models checkpoints build *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
