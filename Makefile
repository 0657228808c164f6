# Everything that is done to this repository, from a fresh clone on. It needs git, make and
# Python 3.11 or newer; the rest is installed into .venv by the first target that wants it.
#
#   make test PYTHON=python3.12      another interpreter for a new .venv
#   make test ARGS="-k spool -x"     more arguments for the tool behind the target

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
ROOMS := lastword domain projections infrastructure
INSTALLED := build/installed

# One pip at a time may write to an environment, also under `make -j`: the others wait for its lock.
LOCKED := $(BIN)/python -c 'import fcntl, subprocess, sys; lock = open(sys.argv[1], "w"); \
	fcntl.flock(lock, fcntl.LOCK_EX); sys.exit(subprocess.call(sys.argv[2:]))' $(VENV)/.lock
PIP := $(LOCKED) $(BIN)/python -m pip --disable-pip-version-check
PIP_INSTALL := $(PIP) install -qq --constraint constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo test soak test-all lint format typecheck bench docs constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(STAMPS)/core ## a two-minute tour on a throw-away store
	@$(BIN)/lastword demo $(ARGS)

test: $(STAMPS)/test ## run all tests but the soaks
	@$(BIN)/python -m pytest -n logical --dist loadgroup -m "not soak" $(ARGS)

soak: $(STAMPS)/test ## run the soaks: faults of a PostgreSQL that is written to, every benchmark in its short form
	@$(BIN)/python -m pytest -n logical --dist loadgroup -m soak $(ARGS)

test-all: $(STAMPS)/lint ## run all tests on every Python from 3.11 on that is installed here
	@$(BIN)/python .ci/test_all.py $(ARGS)

lint: $(STAMPS)/lint $(INSTALLED)/.stamp ## check style, format and the arrows between the layers
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/ruff format --check . || status=1; \
	(cd $(INSTALLED) && $(abspath $(BIN))/lint-imports --config $(abspath pyproject.toml) --no-cache --no-logo) || status=1; \
	exit $$status

format: $(STAMPS)/lint ## repair style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

typecheck: $(STAMPS)/lint $(STAMPS)/test $(INSTALLED)/.stamp ## check types: sources by path, tests against the built package
	@$(BIN)/pyright --pythonpath build/venv/bin/python $(ARGS)

bench: $(STAMPS)/test ## every figure beside its floor (ARGS="lifecycle reads", --smoke, --peers, --json FILE, --pictures FOLDER)
	@$(BIN)/python benchmarks/bench.py $(ARGS)

# The variable silences a notice about a next major release of mkdocs, which constraints.txt keeps out.
docs: $(STAMPS)/docs $(INSTALLED)/.stamp ## build the documentation into site/; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean $(ARGS)
	@if grep -rnoE --include='*.html' '<(script|link|img|source|iframe)[^>]* (src|href)="?(https?:)?//[^" >]*' site; \
		then echo 'docs: the lines above load something from another host' >&2; exit 1; fi
	@echo 'docs: site/index.html'

constraints: $(STAMPS)/lint ## renew constraints.txt after a change of dependencies (ARGS=--upgrade: newest releases)
	@$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --all-extras --group dev \
		--no-header --no-annotate --no-emit-index-url --output-file constraints.txt $(ARGS) pyproject.toml

clean: ## remove everything that can be made again, .venv too
	@rm -rf .venv .venv-* build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	@find . -name .git -prune -o -name __pycache__ -prune -exec rm -rf {} +

# --- what the targets above stand on -------------------------------------------------------------

$(STAMPS)/python:
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 11))') || { \
		echo "lastword needs Python 3.11 or newer; $(PYTHON) is $${version:-not there}. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	echo "$(VENV): Python $$version"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -qq 'pip>=25.3'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/core: pyproject.toml constraints.txt | $(STAMPS)/python
	@echo "$(VENV): installing lastword"
	@$(PIP_INSTALL) --build-constraint constraints.txt --editable .
	@touch $@

# The tests exercise every extra, so their tools come with the dependencies of all of them.
$(STAMPS)/test: $(STAMPS)/core
	@echo "$(VENV): installing the tools of the group 'test'"
	@extras=$$($(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"].get("optional-dependencies", ()), sep=",")'); \
	$(PIP_INSTALL) --group test $${extras:+"lastword[$$extras]"}
	@touch $@

$(STAMPS)/%: $(STAMPS)/core
	@echo "$(VENV): installing the tools of the group '$*'"
	@$(PIP_INSTALL) --group $*
	@touch $@

# The package as a user gets it, beside .venv. Pyright, import-linter and mkdocstrings cannot see
# through the import hook of an editable install whose packages live in several folders. build/venv
# is an interpreter for pyright that finds this copy first and then what .venv holds.
$(INSTALLED)/.stamp: $(STAMPS)/lint $(shell find $(ROOMS) -name __pycache__ -prune -o -print)
	@rm -rf build
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --target $(INSTALLED) .
	@$(BIN)/python -m venv --without-pip build/venv
	@$(BIN)/python -c 'import sysconfig; print("$(abspath $(INSTALLED))", sysconfig.get_path("purelib"), sep="\n")' \
		> $$(echo build/venv/lib/python*/site-packages)/lastword.pth
	@touch $@
