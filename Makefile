# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
LOCKED := postgres redis kubernetes lightgbm catboost onnx dev
DEMO_HOME ?= $(CURDIR)/.fraud_retraining/demo
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install install-spark demo test test-slow lint dev ui bench lock image clean

help: ## What can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## The project and its tools, pinned with hashes, in .venv

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 15) else "Python 3.11 to 3.14 is needed, this is %d.%d; run make PYTHON=python3.11" % v)'
	@echo "== Creating $(VENV) and installing the pinned packages (a minute or two the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)" || echo "uv is not to be had; pip installs instead"
	if $(BIN)/python -m uv --version >/dev/null 2>&1 && $(BIN)/python -m uv pip install --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock; \
	then $(BIN)/python -m uv pip install --python $(BIN)/python --no-deps -e . ; \
	else $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock && $(BIN)/python -m pip install --disable-pip-version-check --no-deps -e . ; fi
	$(BIN)/python -m compileall -q fraud_retraining
	@touch $@

install-spark: install ## PySpark beside it, 450 MB; Java 17 comes from the system
	if $(BIN)/python -m uv --version >/dev/null 2>&1; \
	then $(BIN)/python -m uv pip install --python $(BIN)/python --require-hashes -r requirements.spark.lock; \
	else $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.spark.lock; fi

demo: install ## Simulate a lake and its label feed, and retrain every 48 hours through a change of fraud
	FRAUD_RETRAINING_HOME="$(DEMO_HOME)" FRAUD_RETRAINING_CONFIG= $(BIN)/fraud-retraining demo

test: install ## All tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: install ## The slow tests
	$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: install ## Formatting, lint, types, import contracts, definitions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	FRAUD_RETRAINING_HOME="$(CURDIR)/.fraud_retraining/lint" $(BIN)/dg check defs

dev: install ## Dagster and MLflow on a lake that grows by a day a minute, or on yours if the settings name one
	$(BIN)/fraud-retraining dev

ui: install ## Dagster and MLflow on what the demo left
	FRAUD_RETRAINING_HOME="$(DEMO_HOME)" FRAUD_RETRAINING_CONFIG="$(DEMO_HOME)/retraining.yaml" $(BIN)/fraud-retraining dev

bench: install ## The measurements of benchmarks/, side by side
	$(BIN)/python -m benchmarks

lock: install ## Resolve the newest allowed versions again
	$(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 --upgrade $(LOCKED:%=--extra %) pyproject.toml -o requirements.lock
	grep -o 'pyspark>[^"]*' pyproject.toml | $(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-annotate \
	  --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 -c requirements.lock - -o requirements.spark.lock
	$(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 --upgrade --extra postgres --extra kubernetes --extra redis -c requirements.lock \
	  pyproject.toml -o deploy/requirements.lock
	$(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 --upgrade deploy/build.in -o deploy/build.lock

image: install ## The container image; its steps alone where no docker daemon answers
	PYTHON=$(PYTHON) deploy/build_image.sh $(TAG)

clean: ## Remove the environment and all state
	rm -rf $(VENV) .fraud_retraining
