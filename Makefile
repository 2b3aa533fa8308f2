# Everything a fresh Debian/Ubuntu machine needs is set up by the targets themselves; each step is skipped once done.
VENV    ?= .venv
EXTRAS  ?= cpu,s3,benchmarks,generalise,inspect,dev
CONFIG  ?= demo
PYTHON   = $(VENV)/bin/python
CYCLEQD  = $(VENV)/bin/cycleqd
READY    = $(VENV)/.ready-$(subst $(comma),-,$(EXTRAS))
comma   := ,
# Python's packages and the Docker images are fetched and unpacked side by side.
MAKEFLAGS += --jobs=2
# Every process would compile torch, transformers and Prefect anew: half of what a short command costs.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup docker images up down browser demo demo-vision drill test test-fast bench lint format clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY) ## Create the virtual environment with all dependencies

$(PYTHON):
	@VENV=$(VENV) bash infra/setup_venv.sh

$(READY): pyproject.toml constraints.txt infra/setup_python.sh | $(PYTHON)
	@VENV=$(VENV) EXTRAS=$(EXTRAS) bash infra/setup_python.sh
	@touch $@

docker: | $(PYTHON) ## Make sure that a Docker engine answers (installs it on Debian/Ubuntu as root)
	@bash infra/setup_docker.sh

images: docker ## Build the sandbox images
	@$(PYTHON) infra/build_images.py

demo: setup images ## Fine-tune three experts, evolve their merges, report: a quarter of an hour on two cores
	$(CYCLEQD) run $(CONFIG)

demo-vision: setup ## Experts of four image domains, their six pairs, the table: no container, no GPU
	$(CYCLEQD) pairs sam-demo

up: setup images ## Start a Prefect server, an object store and a worker on this machine, register the deployments, print the UI's address
	@bash infra/setup_postgres.sh
	@$(PYTHON) -m infra.up

down: ## End what `make up` started
	@$(PYTHON) -m infra.up --down

drill: setup images ## Kill parts of runs at random moments and compare what comes out (root; kills the Docker engine, too)
	@bash infra/setup_postgres.sh
	$(PYTHON) -m tests.drill --out docs/results/drill.json

browser: images # Chromium for the browser tests; after the images, for apt-get works for one at a time
	@bash infra/setup_browser.sh

test: setup images browser ## All tests, slow ones included: real Docker, database, model and engine
	$(PYTHON) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: setup ## Tests that need no Docker and take no time
	$(PYTHON) -m pytest -m "not docker and not vllm and not slow and not browser"

bench: setup images ## Compare times with the released evaluators' way (wants an idle machine; `make test` compares none)
	$(PYTHON) -m pytest -s tests/benchmarks

lint: setup ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup ## Rewrite the sources in the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## Remove the environment, caches and leftover containers (keeps runs/)
	-[ -x $(PYTHON) ] && $(PYTHON) -c "from cycleqd.sandbox import reap; print(reap(), 'orphaned containers removed')"
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
