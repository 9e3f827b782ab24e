# Everything a person types. The first target that needs the tools installs them: Python 3.11+ is all that must be there.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SOURCES := app.py bench cdk client functions layers/domain/python tests
# The CDK's library speaks through Node: 20 is past its end of life but does all that is needed here.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20

# Without bytecode files every command compiles the CDK's and the tools' modules again: seconds each time.
unexport PYTHONDONTWRITEBYTECODE

SEEDS ?= 2000
SEED ?= 1

# make demo LLM=1 has a language model on this machine plan and answer a sentence: any model that `fleet up --model` takes.
MODEL ?= coder
GOAL ?= "Answer from the Python docs: what does a return inside finally do to an exception?"

.PHONY: help install demo up down test test-fast lint bench simulate chaos grants clean

help:
	@echo "make demo       install, start the local cloud, run a real goal"
	@echo "make demo LLM=1 a language model here plans a sentence and answers it: MODEL=small|coder-small|coder|FILE.gguf|URL"
	@echo "make up | down  start | stop the local cloud"
	@echo "make test       lint and every test, the deployed stack on the emulator included"
	@echo "make test-fast  every test that needs no emulator"
	@echo "make lint       ruff, mypy, import rules"
	@echo "make bench      benchmarks, in twenty minutes; PEERS=\"celery dbos\" measures some of the peers"
	@echo "make simulate SEEDS=n  n random runs with crashes, duplicates, races"
	@echo "make chaos SEED=n  the deployed fleet under 320 faults: what is lost or done twice"
	@echo "make grants     take away every grant that can be shown to be needed: something must fail each time"
	@echo "make clean      stop the local cloud and remove what was built"

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml $(wildcard layers/dependencies/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt
	@touch $@

demo: up
ifdef LLM
	$(BIN)/fleet plan $(GOAL)
else
	$(BIN)/fleet demo
endif

up: install
	$(BIN)/fleet up $(if $(LLM),--model $(MODEL))

down: install
	$(BIN)/fleet down

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

test-fast: install
	$(BIN)/pytest -n auto -m "not emulator"

test: lint test-fast
	$(BIN)/pytest -m emulator

bench: install
	$(BIN)/python -m bench

simulate: install
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

chaos: install
	$(BIN)/python -m tests.chaos --seed $(SEED) --write

grants: install
	GRANTS=$(or $(GRANTS),all) $(BIN)/pytest -m emulator -s tests/emulator/test_grants.py

clean:
	@test ! -x $(BIN)/fleet || $(BIN)/fleet down
	rm -rf .fleet build cdk.out node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
