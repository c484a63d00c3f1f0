#!/usr/bin/env bash
# The benches of a GPU in one command, meant for ten minutes and never timed: `bench/gpu.sh`. Refuses where PyTorch finds none.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m bench.gpu "$@"
