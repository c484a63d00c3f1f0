"""Bits that turn in a checkpoint: how many of them are loaded.

    python bench/flips.py [--flips 1000] [--seed 0]

A run's state and a policy with its manifest are saved, one bit anywhere in them is turned, and what it belongs to is opened as a
run opens it; then the bit is put back. The last line on stdout is one JSON object; `loaded` should be 0.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.stage import say
from trainer.files.checkpoint import CheckpointError, load_state, save, save_state, verify, write_nested

STEP = 17


def turn_bits(flips: int, seed: int) -> dict[str, Any]:
    """How many checkpoints with one bit turned were opened, and of which files the bits were."""
    draw = random.Random(seed)
    began = time.monotonic()
    loaded = refused = 0
    turned: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        states, policy = Path(folder) / "state", Path(folder) / "policy"
        values = {"weights": torch.randn(500), "optimiser": {0: {"step": 3, "average": torch.randn(100)}}, "lr": 3e-4}
        save_state(states, STEP, values)
        save(
            policy,
            lambda inner: write_nested(inner, values),
            {"kind": "policy", "base": {"source": "somewhere"}, "figures": {"kl": 0.1}},
        )
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        for _ in range(flips):
            path = draw.choice(files)
            whole = path.read_bytes()
            bit = draw.randrange(8 * len(whole))
            broken = bytearray(whole)
            broken[bit // 8] ^= 1 << bit % 8
            path.write_bytes(broken)
            if _opens(states, policy, path):
                loaded += 1
                say(f"bit {bit} of {path.relative_to(folder)} was turned, and nobody saw it")
            else:
                refused += 1
            turned[path.name] = turned.get(path.name, 0) + 1
            path.write_bytes(whole)
        assert load_state(states) is not None
    seconds = round(time.monotonic() - began, 1)
    return {
        "bench": "flips",
        "flips": flips,
        "seed": seed,
        "seconds": seconds,
        "of": turned,
        "refused": refused,
        "loaded": loaded,
    }


def _opens(states: Path, policy: Path, path: Path) -> bool:
    """Whether what the file belongs to is taken."""
    if states in path.parents:
        return load_state(states) is not None
    try:
        verify(policy)
    except CheckpointError:
        return False
    return True


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--flips", type=int, default=1000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    result = turn_bits(chosen.flips, chosen.seed)
    print(json.dumps(result))
    raise SystemExit(result["loaded"] > 0)


if __name__ == "__main__":
    main()
