# Each target does its own set-up: Python 3.11 or newer and make are all a fresh clone needs.

.PHONY: run test lint

run:
	@bin/setup run
	@exec bin/tastemaker up

lint:
	@bin/setup test
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m mypy

# Two threads of arithmetic, so that figures do not depend on the machine; no test may reach for the network.
test: lint
	@OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 .venv/bin/python -m pytest
