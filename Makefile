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

# One thread of arithmetic, in the tests and in the runs they start: tiny models gain nothing from more, and wait for each other
# where processors are few. Two processes of tests, each taking whole files. No test may reach for the network.
test: lint
	@OMP_NUM_THREADS=1 TASTEMAKER_THREADS=1 HF_HUB_OFFLINE=1 .venv/bin/python -m pytest -n 2 --dist loadfile
