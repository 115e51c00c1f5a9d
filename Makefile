# `make` lists the targets. Each sets up .venv first if need be; Python 3.11, git and make are enough.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

READY  := .venv/ready
PY     := .venv/bin/python
PYTEST := $(PY) -m pytest
CODE   := $(wildcard src tests benchmarks)
ORDERS ?=

# pyright comes whole in its wheel: nothing is fetched, nothing is asked of the network.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PYRIGHT_PYTHON_GLOBAL_NODE := 0

$(READY): pyproject.toml requirements/dev.txt tools/setup
	@PYTHON='$(PYTHON)' tools/setup
	@touch $@

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup demo test slow examples replay bench figures
setup: $(READY) ## .venv, without running anything

demo: $(READY) ## the order choreography under load, with trouble and a kill -9; three counters must read 0
	@$(PY) examples/order_fulfilment/demo.py

test: $(READY) ## the everyday tests, under two minutes
	@$(PYTEST) -q -n auto --dist worksteal

slow: $(READY) ## the tests that the everyday suite leaves out
	@$(PYTEST) -q -m slow

examples: $(READY) ## run every example and compare what it prints
	@$(PY) examples/run_all.py

replay: $(READY) ## a file of recorded orders through a choreography; ORDERS=path/to/orders.csv for another file
	@$(PY) examples/order_fulfilment/replay.py $(if $(ORDERS),--orders '$(ORDERS)')

bench: $(READY) ## what is promised of speed, beside a hand-written loop and peers; SHORT=1 only sees that it works
	@$(if $(SHORT),,$(PY) benchmarks/setup.py)
	@$(PY) benchmarks/run.py $(if $(SHORT),--short)
	@$(if $(SHORT),,build/bench/venv/bin/python benchmarks/pictures.py build/bench/table.json build/bench)

figures: $(READY) ## what the last `make bench` has measured into docs/performance.md and its pictures
	@$(PY) benchmarks/page.py

.PHONY: check format ruff mypy pyright floors tidy typing
check: $(READY) ## format, lint, types, floors, tidiness: under a minute
	@$(MAKE) --no-print-directory -k -j 2 $(if $(filter output-sync,$(.FEATURES)),-O) pyright ruff mypy floors tidy

format: $(READY) ## put the code into its format, and mend what ruff can mend
	@$(PY) -m ruff check --quiet --fix-only .
	@$(PY) -m ruff format .

ruff: $(READY)
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check --quiet .

# The examples are checked folder by folder, as they run: two may have a `shop` each.
mypy: $(READY)
	@$(PY) -m mypy $(CODE)
	@for folder in $(wildcard examples/*/); do \
	    MYPYPATH="$$folder" $(PY) -m mypy --cache-dir ".mypy_cache/$$folder" "$$folder" || exit 1; done

pyright: $(READY)
	@$(PY) -m pyright

floors: $(READY)
	@.venv/bin/lint-imports --no-logo --no-cache

tidy: $(READY)
	@$(PYTEST) -q tests/test_tidy.py

typing: $(READY) ## the public API as users' type checkers see it: what they accept, refuse and infer
	@$(PY) -m mypy tests/typing tests/targets
	@$(PY) -m pyright tests/typing tests/targets
	@$(PYTEST) -q -m typing || [ $$? -eq 5 ] # 5: no test is marked so

.PHONY: tutorial hunts ways
ways: $(READY) ## how far all code here goes the ways of its model, and that no flow ends as a model says none can; SEEDS=60
	@PYTHONPATH=tests/targets $(PY) -m tests.ways $(or $(SEEDS),60)

hunts: $(READY) ## hunt for planted bugs: seeds until each is found, and what is left of its story; HUNTS=20 CALM=1000
	@$(PY) -m tests.hunts $(or $(HUNTS),20) $(or $(CALM),1000)

tutorial: $(READY) ## type the tutorial and the page on the pattern, and compare what they print with what stands there
	@$(PYTEST) -q -m 'slow or not slow' tests/test_tutorial.py tests/test_pattern_docs.py

.PHONY: saboteurs crash-test mutants model agree
saboteurs: $(READY) ## plant a break of each promise; the suite must catch every one
	@$(PY) tests/saboteurs/run.py

.PHONY: saboteurs-simulated
saboteurs-simulated: $(READY) ## the same breaks under simulation, and the table of docs/simulate.md, in five minutes; SHORT=1 tries a few
	@$(PY) tests/saboteurs/run.py $(if $(SHORT),--sample,--simulated)

crash-test: $(READY) ## kill -9 while work is unfinished, again and again; all counters must read 0; KILLS=20
	@$(PY) tests/crash/run.py $(if $(KILLS),--kills $(KILLS))

mutants: $(READY) ## plant every single defect in clean choreographies; what check finds of them
	@$(PY) tests/mutants/run.py

.PHONY: fixes
fixes: $(READY) ## type the fix of each finding in these choreographies, word for word; how many take their finding away
	@$(PY) tests/mutants/fixes.py

model: $(READY) ## the executable model of the react group, and the shortcuts that lose money in it; SEEDS=1500
	@$(PY) -m tests.model.table $(SEEDS)

.PHONY: swarm
swarm: $(READY) ## the order choreography under every fault, for 45 seconds; SEED=0 is the first
	@$(PY) -m callboard simulate examples/order_fulfilment/shop.py --seed $(or $(SEED),0) --seeds 100000 --time 45 \
	    --keep build/failures

.PHONY: asyncapi
asyncapi: $(READY) ## every AsyncAPI document through the parser of the AsyncAPI project; fetches it once, with npm
	@$(PY) tools/asyncapi.py

agree: $(READY) ## the same random schedules for the model and the real thing, which must agree; SCHEDULES=200
	@$(PY) -m tests.model.agree $(SCHEDULES)

.PHONY: clean
clean: ## remove .venv, caches and what was built
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
