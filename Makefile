# `make` lists the verbs; CI calls the same ones.
VENV ?= .venv
BIN := $(VENV)/bin
# What serving needs; and that with the tools for tests and lint.
SERVES := $(VENV)/serves
INSTALLED := $(VENV)/installed
LOWEST := .venv-lowest
# Folders whose tests need neither daemons nor root.
QUICK := $(addprefix tests/,api auth commands config contract oci policy property pull runtime server store upkeep upstream)

# Most tests wait for servers to start, so more processes than cores are faster. The tests of a file stay in one process,
# because they share servers, and files run in the order of tests/conftest.py. The time-out is for tests that hang, with
# room for a busy machine.
PARALLEL := -n 6 --dist loadfile --no-loadscope-reorder --timeout 180

# Where this is set, every process of the tests compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-lowest fuzz lint format coverage bench bench-cluster dist clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(SERVES): setup.cfg pyproject.toml tools/venv tools/install
	@tools/venv $(VENV)
	@tools/install $(VENV) "what a server needs" -e .
	@echo "registry-cache is in $(BIN)/registry-cache"
	@touch $@

$(INSTALLED): setup.cfg pyproject.toml tools/venv tools/install
	@tools/venv $(VENV)
	@tools/install $(VENV) "what a server needs, and the tools for tests and lint" -e '.[test,lint]'
	@touch $@ $(SERVES)

$(LOWEST)/installed: setup.cfg pyproject.toml tools/venv tools/install tools/lowest.py
	@tools/venv $(LOWEST)
	$(LOWEST)/bin/python tools/lowest.py setup.cfg >$(LOWEST)/constraints.txt
	@tools/install $(LOWEST) "the oldest dependencies allowed, and the tools for tests" -c $(LOWEST)/constraints.txt -e '.[test]'
	@touch $@

run: $(SERVES) ## serve a mirror of Docker Hub on 127.0.0.1:5000
	exec $(BIN)/registry-cache serve

test: $(INSTALLED) ## run every test; ARGS="-k name" for some
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-lowest: $(LOWEST)/installed ## run every test with the oldest dependencies that setup.cfg allows
	$(LOWEST)/bin/python -m pytest $(PARALLEL) $(ARGS)

fuzz: $(INSTALLED) ## say to the parsers what nobody has tried yet, for SECONDS=60
	$(BIN)/python tools/fuzz.py $(or $(SECONDS),60)

lint: $(INSTALLED) ## ruff, mypy --strict, and hadolint for the image
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint deploy/docker/Dockerfile

format: $(INSTALLED) ## let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: $(INSTALLED) ## branch coverage of the quick tests, gunicorn's workers included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(wildcard $(QUICK)) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(INSTALLED) ## compare with other mirrors, 20 minutes (bench/README.md); ARGS="--quick" for one
	$(BIN)/python -m bench $(ARGS)

bench-cluster: $(INSTALLED) ## three nodes over one Redis: what faults cost, 5 minutes
	$(BIN)/python -m bench.cluster --out bench/results/cluster.txt $(ARGS)

dist: $(INSTALLED) ## build the wheel, with deploy/ and man pages in it, and the versions it was tested with into dist/
	@rm -rf dist build man
	$(BIN)/python tools/man.py man
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python tools/constraints.py registry-cache >dist/constraints.txt

clean: ## remove what these verbs made (never the store)
	rm -rf $(VENV) $(LOWEST) build dist man *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
