# Each target does its own set-up: Python 3.11 or newer, make and git are all a fresh clone needs.

.PHONY: help run test fast lint format lock sbom audit bench-setup

help:         ## show this
	@sed -n 's/^\([a-z-]*: .*\)## /\1/p' Makefile

run:          ## set up, start web and worker, print the link to open
	@bin/setup run
	@exec bin/tastemaker up

# One thread of arithmetic, in the tests and in the runs they start: tiny models gain nothing from more, and wait for each other
# where processors are few. Three processes of tests, each taking whole files: on two processors, because many tests wait for what
# they started. No test may reach for the network. Compiled files are kept, whatever the environment says: hundreds of processes
# are started.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 TASTEMAKER_THREADS=1 HF_HUB_OFFLINE=1 .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test:         ## set up (browser and database server included), check style and types, run every test
	@bin/setup test
	@$(MAKE) -s lint
	@$(PYTEST)

fast:         ## run the tests of what changed since main
	@bin/setup test
	@tests=$$(.venv/bin/python -m tests.changed) && $(PYTEST) $$tests

lint:         ## check style and types
	@bin/setup dev
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m mypy

format:       ## mend what of the style can be mended by itself
	@bin/setup dev
	@.venv/bin/python -m ruff check --fix --show-fixes .
	@.venv/bin/python -m ruff format .

COMPILE = .venv/bin/uv pip compile -q --universal --python-version 3.11 --custom-compile-command "make lock"
# PyTorch is built for many kinds of machine, by several indexes under one version: its hash is not one.
BUILDS = $$(grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' constraints.txt | sed 's/^/--no-emit-package /; s/==//')

lock:         ## write constraints.txt and locks/ anew after a requirement changed
	@[ -x .venv/bin/uv ] || bin/setup dev
	@$(COMPILE) -o constraints.txt requirements-dev.txt
	@$(COMPILE) --generate-hashes -c constraints.txt $(BUILDS) -o locks/requirements.txt requirements.txt
	@$(COMPILE) --generate-hashes -c constraints.txt $(BUILDS) -o locks/requirements-dev.txt requirements-dev.txt
	@$(COMPILE) --generate-hashes --no-deps -o locks/requirements-model.txt requirements-model.txt
	@$(COMPILE) --generate-hashes -o locks/requirements-audit.txt requirements-audit.txt
	@bin/setup dev

sbom:         ## write sbom.json: what is installed, with versions and licences (CycloneDX)
	@bin/setup audit
	@.venv/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json .venv/bin/python
	@echo "sbom.json lists what is installed in .venv."

audit:        ## ask which vulnerabilities are known in the locked versions (needs the network)
	@bin/setup audit
	@bin/audit

bench-setup:  ## install what the scripts in bench/ need beyond `make run`
	@bin/setup dev
