# Needs python3 (3.11 or newer), git and make; everything else is brought into .tools/ and .venv/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= 3
UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
BIN := .venv/bin

# uv does not read pip's settings: a mirror or a certificate that pip was told about serves uv too.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
# Where the system keeps certificates, a company's own is among them; elsewhere uv brings its own.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= 1
export UV_NATIVE_TLS ?= 1
endif
export UV_NO_PROGRESS := 1

# Tests start hundreds of processes: without the cache each compiles what it imports, which doubles their cost.
export PYTHONDONTWRITEBYTECODE :=

INSTALL := $(UV) pip install --quiet --python $(BIN)/python
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-emit-build-options --no-header --no-annotate
LOCKS := requirements.lock requirements-demo.lock requirements-dev.lock requirements-server.lock

##@ Use

.PHONY: help
help: ## show this page
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/.demo ## train ten models on real data, compare them, load the best one back
	$(BIN)/python examples/quickstart.py

##@ Develop

.PHONY: setup
setup: .venv/.dev ## make .venv with the locked tools and libraries that the tests need
	@echo '$(BIN)/python is ready'

.PHONY: test
test: .venv/.dev ## run the tests, but for those of soak, and every example in the documentation
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m 'not soak' \
	  --doctest-modules --doctest-glob='*.md' mlrun docs tests

.PHONY: check
check: .venv/.dev ## lint, formatting, types, import rules, and what may not be in the tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .import_linter_cache
	$(BIN)/python -m pytest -q tests/test_house.py -k 'tree or lock'

.PHONY: format
format: .venv/.dev ## let ruff format and repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lock
lock: $(UV) ## renew the locked, hashed requirements from pyproject.toml
	$(COMPILE) pyproject.toml --extra chdb --extra dashboard --extra k8s --extra media --extra postgres --extra ray --extra schedule --extra server --group dev --output-file requirements-dev.lock
	$(COMPILE) pyproject.toml --extra dashboard --group examples -c requirements-dev.lock --output-file requirements-demo.lock
	$(COMPILE) pyproject.toml -c requirements-dev.lock --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra clickhouse --extra dashboard --extra k8s --extra postgres --extra s3 --extra schedule --extra server --group install -c requirements-dev.lock --output-file requirements-server.lock

##@ Measure

.PHONY: bench
bench: .venv/.dev ## run every workload of bench/ and print the tables
	$(BIN)/python -m bench

.PHONY: soak
soak: .venv/.dev ## run the tests that cost most, then kill writers at random moments for SOAK_SECONDS
	$(BIN)/python -m pytest -m soak tests
	$(BIN)/python -m bench.soak

##@ Tidy

.PHONY: clean
clean: ## remove what building and testing made; .venv and .tools stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +

# --- what the verbs above stand on ---------------------------------------------------------------

# Where the venv module lacks pip (a bare Debian), the pip of python3 itself puts uv in the same place.
.tools/bin/uv:
	$(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet uv \
	  || $(PYTHON) -m pip install --quiet --upgrade --target .tools uv

.venv/bin/python: | $(UV)
	$(UV) venv --quiet --allow-existing --python '>=3.11' .venv

.venv/.demo: requirements-demo.lock pyproject.toml | .venv/bin/python
	$(INSTALL) --require-hashes -r requirements-demo.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(INSTALL) --require-hashes -r requirements-dev.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@ .venv/.demo
