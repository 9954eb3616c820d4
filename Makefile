# Two commands do everything: `make up` runs a network, `make test` passes its tests. Both make .venv themselves.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
unexport PYTHONDONTWRITEBYTECODE # half of a process's start would be compiling

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
UV_VERSION := 0.13.8
OWN_CODE := haulout node_grpc graphql_api operator
UV_READY := $(BIN)/python -c '' 2>/dev/null && $(BIN)/uv --version 2>/dev/null | grep -qF 'uv $(UV_VERSION) '
PROTOS := $(shell find protos -name '*.proto' 2>/dev/null | sort)

.PHONY: help venv up test soak pages check fmt gen sim sim-coverage sim-planted bench bench-codec bench-epochs bench-graphql console console-check lock image cluster cluster-down e2e e2e-full clean

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

venv: $(STAMP) ## .venv with everything, pinned
	@:

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Haulout needs Python 3.11 or later; name one with make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV) …"
	@$(UV_READY) || { $(PYTHON) -m venv --clear $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q $(OWN_CODE)
	@touch $@

up: venv ## run a network here until Ctrl-C (ARGS="--nodes 7")
	@exec $(BIN)/haulout up $(ARGS)

test: venv ## every test
	@tests/tools
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder tests

soak: venv ## the network changes hands for a quarter of an hour, then at each step something is killed
	@HAULOUT_SOAK=1 $(BIN)/python -m pytest -q -s tests/integration/test_epochs.py tests/integration/test_epoch_kills.py

pages: venv ## the pictures in docs/screenshots, taken anew in a browser
	@tests/tools
	@HAULOUT_SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/integration/test_console.py

check: venv ## style, types, import rules, architecture: under a minute
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/python -m pytest -q tests/architecture

fmt: venv ## format and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

gen: venv ## from .proto files, the operator's models and monitoring/: what is made from them
	@$(BIN)/python -m grpc_tools.protoc --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		-I protos --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PROTOS)
	@$(BIN)/python -m haulout_operator.crds helm/haulout/templates/crds
	@$(BIN)/python -m haulout_operator.chart_readme helm/haulout
	@$(BIN)/python -m haulout_operator.chart_schema helm/haulout
	@$(BIN)/python -m monitoring

console/node_modules: console/package-lock.json
	@cd console && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

console: console/node_modules ## the playground and the console, into graphql_api/console
	@cd console && npx vite build --logLevel error

console-check: console/node_modules ## the committed bundle is what console/ gives: built again, and compared
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; cd console && npx vite build --logLevel error --outDir "$$fresh" \
		&& { diff -rq "$$fresh" ../graphql_api/console || { echo "run make console"; exit 1; }; }

sim: venv ## the network in a virtual world (SEEDS=1000, or one again: SEED=7)
	@$(BIN)/python -m haulout.sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),100)) $(ARGS)

sim-coverage: venv ## how much of node, client and sequencer runs in virtual worlds: at least 85 % of each (SEEDS=100)
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run -m haulout.sim --seeds $(or $(SEEDS),100) $(ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@status=0; for room in node client sequencer; do \
		$(BIN)/python -m coverage report --include="haulout/$$room/*" --fail-under=85 || status=1; done; exit $$status

sim-planted: venv ## planted mistakes are found by the simulation (PATCH=reward-rounded-up)
	@$(BIN)/python tests/simulation/planted/hunt.py $(PATCH)

bench: venv ## the committed benchmarks, as ratios
	@$(BIN)/python -m benchmarks $(ARGS)

bench-codec: venv ## the codec beside other codecs and the machine's limits
	@$(BIN)/python -m benchmarks codec $(ARGS)

bench-epochs: venv ## epoch changes: their cost on the ledger, bytes moved per byte kept, speed of shard sync
	@$(BIN)/python -m benchmarks epoch_change rebuild shard_sync $(ARGS)

bench-graphql: venv ## the GraphQL API beside its peers: pages, documents, subscribers, ingest, lag (ARGS=--quick)
	@$(BIN)/python -m benchmarks graphql $(ARGS); failed=$$?; $(BIN)/python -m benchmarks lag && exit $$failed

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

lock: ## pin all dependencies anew
	@$(UV_READY) || { $(PYTHON) -m venv --clear $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock

image: ## the one image of all processes (BASE= ARCHIVE=)
	@./.ci/image

cluster: venv ## a Kubernetes with the image and the chart in it, as e2e makes it
	@$(BIN)/python tests/kubernetes/testbed.py up

cluster-down: venv ## end it
	@$(BIN)/python tests/kubernetes/testbed.py down

e2e: venv ## install, store, scale, break, on a real Kubernetes (KUBECONFIG=, HAULOUT_TESTBED= or kind)
	@HAULOUT_E2E=1 $(BIN)/python -m pytest -q -s --timeout 900 --durations=0 --durations-min=1 tests/kubernetes

e2e-full: venv ## the same and every failpoint, thirty nodes, a gibibyte, an hour: about four hours
	@HAULOUT_E2E=1 HAULOUT_E2E_FULL=1 $(BIN)/python -m pytest -q -s --timeout 7200 --durations=0 --durations-min=1 tests/kubernetes

clean: ## remove what was made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
