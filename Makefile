# Everything runs from .venv; `make demo` and `make test` need nothing but Python >= 3.11 with venv, and git.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENTS := $(wildcard requirements/*.txt)
# xdist workers for the tests that raise sites: each site is a dozen processes.
WORKERS ?= 2
# Random schedules of `make model`.
SCHEDULES ?= 20000

export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-turn lab lab-down test unit integration molecule model chaos lint sanity ansible-units bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): $(REQUIREMENTS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, found: $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(foreach file,$(REQUIREMENTS),-r $(file)) -e .
	@touch $@

venv: $(STAMP)  ## install what the project needs into .venv

demo: $(STAMP)  ## the main story on a simulated site: provision, sync, failover, backfill, switchover
	$(BIN)/python -m tandem_lab.demo --directory build/demo

demo-turn: $(STAMP)  ## the shorter story of the other replication strategy, `turn`
	$(BIN)/python -m tandem_lab.demo --story turn --directory build/demo-turn

lab: $(STAMP)  ## raise a simulated site to play with (build/lab/site.json tells where)
	$(BIN)/tandem-lab up --dir build/lab

lab-down: $(STAMP)  ## stop it
	$(BIN)/tandem-lab down --dir build/lab

# The model only calculates, the sites mostly wait: side by side they take little longer than the sites alone.
test: $(STAMP)  ## all tests
	@mkdir -p build
	@nice -n 19 $(MAKE) --no-print-directory model > build/model.log 2>&1 & model=$$!; \
	trap 'kill $$model 2>/dev/null; wait $$model' EXIT; \
	$(MAKE) --no-print-directory unit molecule integration || exit 1; \
	echo "== the model of the protocol"; wait $$model; status=$$?; trap - EXIT; tail -n 40 build/model.log; exit $$status

model: $(STAMP)  ## the attachment protocol in random schedules (SCHEDULES=100000 for more), by the product's own code
	cd tests && ../$(BIN)/python -m model --seeds 0 $(SCHEDULES)

chaos: $(STAMP)  ## break a simulated site in every way, and have an independent checker judge (build/chaos/results.json)
	$(BIN)/python -m tandem_lab.chaos --directory build/chaos

unit: $(STAMP) ansible-units  ## tests of single parts: the collection by ansible-test, the lab by pytest
	$(BIN)/python -m pytest -q -n $(WORKERS) tests/lab tests/project tests/model

integration: $(STAMP)  ## stories and refusals on simulated sites
	$(BIN)/python -m pytest -q -n $(WORKERS) tests/integration

molecule: $(STAMP)  ## provision, idempotence, failover, backfill as a molecule scenario (another one: molecule test -s chaos)
	MOLECULE_EPHEMERAL_DIRECTORY=$(CURDIR)/build/molecule $(BIN)/molecule test

ansible-units: $(STAMP)  ## the collection's unit tests as ansible-test runs them
	tools/ansible-test.sh units --local --num-workers 3 --python $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

sanity: $(STAMP)  ## ansible-test sanity
	tools/ansible-test.sh sanity --local --python $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

lint: $(STAMP)  ## ansible-lint (profile production) and yamllint
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --offline

bench: $(STAMP)  ## measure, into build/bench/results.json
	$(BIN)/python bench/run.py --out build/bench/results.json

clean:  ## remove what was built (not .venv)
	-$(BIN)/tandem-lab down --dir build/lab
	rm -rf build
