# Everything a developer runs. Each target makes the virtual environment it needs. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# No resolver can install CrypTen from its own metadata (docs/adr/0002), so its pin lives here.
CRYPTEN := crypten==0.4.1
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iprotos \
	--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc
PROTOC_OUT = --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1)
# The versions of Python that `make matrix` tests; the classifiers in pyproject.toml say the same.
PYTHONS := 3.11 3.12 3.13
# $(call GENERATE,FOLDER): the product's code into FOLDER, the laboratory's into FOLDER/lab.
GENERATE = $(PROTOC) $(call PROTOC_OUT,$(1)) protos/privedge/wire/*.proto protos/parties/wire/*.proto \
	&& $(PROTOC) $(call PROTOC_OUT,$(1)/lab) protos/privedge_lab/wire/*.proto

.PHONY: help demo up face-recipe signals test test-quick test-slow gameday fuzz cover matrix check lint collects format types imports proto proto-check node crypten-tests docs docs-check build bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# An existing environment is brought in step whenever the lock or the metadata changed.
$(INSTALLED): requirements.lock pyproject.toml parties/pyproject.toml lab/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "privedge needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "[1/4] $(VENV): a virtual environment of its own"; $(PYTHON) -m venv $(VENV); }
	@echo "[2/4] $(VENV): PyTorch, by far the largest part; this can take minutes"
	@$(BIN)/python -m pip install --constraint requirements.lock torch
	@echo "[3/4] $(VENV): the other packages of requirements.lock"
	@$(BIN)/python -m pip install --no-deps --requirement requirements.lock
	@echo "[4/4] $(VENV): privedge, its servers and its laboratory, in place"
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
		--editable . --editable ./parties --editable ./lab
	@touch $@

demo: $(INSTALLED) ## the whole system on real digits; writes build/demo/index.html
	$(BIN)/privedge demo

up: $(INSTALLED) ## a private service over your own pictures: make up DIR=people/
	@test -n "$(DIR)" || { echo "name a folder with a folder of pictures for each owner: make up DIR=people/" >&2; exit 1; }
	$(BIN)/privedge up "$(DIR)" --keep

face-recipe: $(INSTALLED) ## fetch what the preset face needs: make face-recipe DIR=build/faces
	@test -n "$(DIR)" || { echo "name a folder to write to: make face-recipe DIR=build/faces" >&2; exit 1; }
	@$(BIN)/python -m tools.face_recipe "$(DIR)"

signals: $(INSTALLED) ## fetch real voices and motions as vectors: make signals DIR=build/signals
	@test -n "$(DIR)" || { echo "name a folder to write to: make signals DIR=build/signals" >&2; exit 1; }
	@$(BIN)/python -m tools.signals "$(DIR)"

# Two processes, each of which takes one file after the other. tests/integration comes first: files that
# start servers take longest.
# `make test COVER=1` measures coverage too; pytest's own summary stays the last line of a run that
# passes, for the floors are silent if they hold.
COVER ?=
COVERED = $(if $(COVER),--cov --cov-report=html --cov-report=json -p tools.coverage_table)
# The tests start some thousand processes, and each would compile the code again where an environment says that
# Python keeps no compiled modules.
PYTEST_FAST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder
test: $(INSTALLED) ## every test but the slow ones
	$(PYTEST_FAST) $(COVERED)
	@$(if $(COVER),$(BIN)/python tools/coverage_table.py,:)

test-quick: $(INSTALLED) ## unit tests, and private queries to real servers
	$(PYTEST_FAST) tests/unit tests/integration/test_private_queries.py

test-slow: $(INSTALLED) ## the tests that take minutes
	$(BIN)/pytest -m slow

# `make gameday SHORT=1` does a part of the faults and no tests, as .ci/run does.
SHORT ?=
gameday: $(INSTALLED) ## every fault of the table, done to real servers; writes docs/faults.md
	@$(BIN)/python -m tools.gameday $(if $(SHORT),--short)

# How many cases all parsers of outside bytes get together.
CASES ?= 100000
fuzz: $(INSTALLED) ## bytes from outside, to every parser: make fuzz CASES=100000
	PRIVEDGE_FUZZ_CASES=$(CASES) $(BIN)/python -m pytest tests/unit/test_fuzz.py

cover: ## make test, with coverage by package; writes build/coverage
	@$(MAKE) --no-print-directory test COVER=1

matrix: ## make test-quick on each Python that is here, each in its .venv-3.xx
	@$(PYTHON) tools/matrix.py $(PYTHONS)

check: lint types imports proto-check docs-check collects ## everything that needs no running: lint, types, imports, drift

lint: $(INSTALLED) ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## rewrite the files as ruff wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED) ## mypy, strict
	$(BIN)/mypy

collects: $(INSTALLED) ## every file of tests can be imported
	$(BIN)/python -m pytest --collect-only -qq

imports: $(INSTALLED) ## who may import whom (pyproject.toml)
	$(BIN)/lint-imports

proto: $(INSTALLED) ## generate the wire packages from protos
	$(call GENERATE,.)
	@test ! -d clients/node/node_modules || PYTHON=$(abspath $(BIN)/python) npm --prefix clients/node run --silent generate

proto-check: $(INSTALLED) ## is the generated code in step with protos?
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; mkdir "$$fresh/lab"; \
	$(call GENERATE,"$$fresh"); \
	for wire in privedge/wire parties/wire lab/privedge_lab/wire; do \
		diff -r -x __init__.py -x __pycache__ "$$fresh/$$wire" $$wire \
			|| { echo "$$wire is out of step with protos: run make proto" >&2; exit 1; }; \
	done
	@echo "the generated code is in step with protos"

# OUT writes the table of results; FILES and LIMIT, in seconds a test, narrow the run.
crypten-tests: $(INSTALLED) ## CrypTen's own tests on our backend: make crypten-tests DIR=checkout
	@test -n "$(DIR)" || { echo "name a checkout of CrypTen's repository: make crypten-tests DIR=CrypTen/" >&2; exit 1; }
	@OMP_NUM_THREADS=1 $(BIN)/python -m tools.crypten_tests "$(DIR)" \
		$(if $(FILES),--files $(FILES)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(OUT),--out $(OUT))

# The client in TypeScript needs node and npm, which no other target does. No script of a package runs.
node: ## install, build and test clients/node
	@command -v npm >/dev/null || { echo "node and npm are missing: apt-get install nodejs npm" >&2; exit 1; }
	cd clients/node && npm ci --ignore-scripts --no-fund --no-audit && npm test

docs: $(INSTALLED) ## write the generated pages, and make a site of docs/ in build/docs
	$(BIN)/python tools/reference.py
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@! grep -rlE '<(script|link|img)[^>]* (src|href)="https?:' build/docs --include='*.html' \
		|| { echo "these pages fetch something from elsewhere" >&2; exit 1; }
	@echo "build/docs/index.html"

docs-check: $(INSTALLED) ## are the generated pages in step with the code?
	@$(BIN)/python tools/reference.py --check

build: $(INSTALLED) ## wheels and sdists of all three distributions in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m build --no-isolation --outdir dist parties
	$(BIN)/python -m build --no-isolation --outdir dist lab

bench: $(INSTALLED) ## seconds, rounds and bytes of a query
	$(BIN)/privedge bench query

lock: $(INSTALLED) ## resolve each pyproject.toml afresh into requirements.lock
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	echo "resolving; this takes a minute"; \
	$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --report "$$fresh/report.json" \
		'.[train,party,encoder,otel,dev]' './parties[postgres]' ./lab; \
	$(BIN)/python tools/lock.py $(CRYPTEN) < "$$fresh/report.json" > "$$fresh/lock"; \
	mv "$$fresh/lock" requirements.lock

clean: ## remove what was built; keep .venv
	rm -rf build dist *.egg-info {parties,lab}/{build,*.egg-info} .mypy_cache .ruff_cache .import_linter_cache .hypothesis
