"""What the fit of a reward takes as labels grow: `python bench/many_labels.py --labels 1000 10000 100000`.

Planted preferences over features of SmolLM2-135M's sizes (a dozen layers of 576 numbers), two answers to each label, in a file as
a reward run has them. Each number of labels is a process of its own: the held-out folds and the fit to all, as in a run after its
texts were read. Seconds, processor seconds, the peak of what the process holds for itself (pages of files, which the kernel can
drop, are counted apart), and the accuracy on held-out folds; the slope is of processor seconds over labels, as powers. One JSON
line last.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import math
import resource
import subprocess
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from bench.installation import say
from trainer.contract.config import RewardConfig
from trainer.reward import validation
from trainer.reward.data import Comparison, Labels
from trainer.reward.features import table_in
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings
from trainer.reward.head.model import Head
from trainer.reward.held_out import cross_validate, join, split_prompts
from trainer.worker.executors.command import TUNING

LAYERS, WIDTH, TOLD = 12, 576, (4, 6)
TURNED, ANNOTATORS, AT_ONCE = 0.1, 8, 8192


def main() -> int:
    options = _options()
    if options.one:
        print(json.dumps(measured(options.one)))
        return 0
    found = []
    for labels in options.labels:
        say(f"{labels} labels")
        command = [sys.executable, str(Path(__file__).resolve()), "--one", str(labels)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**TUNING, **os.environ}, text=True).stdout
        found.append(json.loads(told.splitlines()[-1]))
        say(str(found[-1]))
    slopes = [
        round(math.log(more["cpu_s"] / less["cpu_s"]) / math.log(more["labels"] / less["labels"]), 2)
        for less, more in pairwise(found)
    ]
    print(json.dumps({"fits": found, "slopes": slopes}))
    return 0


def measured(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tastemaker-labels-") as place:
        features, labels = planted(count, Path(place) / "features.bin")
        watched = _Peak()
        began, cpu = time.monotonic(), time.process_time()

        def fitted(some: Labels) -> Head:
            return fit(features, some.comparisons, [], HeadSettings())

        split = split_prompts(labels, RewardConfig(judge_share=0.0))
        parts, _heads = cross_validate(labels, split, fitted, features)
        fitted(labels)
        return {
            "labels": count,
            "seconds": round(time.monotonic() - began, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "own_mib": round(watched.end() / 2**20),
            "with_files_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "accuracy": round(validation.accuracy(join(parts)) or 0.0, 4),
            "threads": torch.get_num_threads(),
        }


def planted(count: int, place: Path) -> tuple[dict[str, Tensor], Labels]:
    """Features in a file, and verdicts that two of the layers tell, one in ten of them turned round."""
    draw = torch.Generator().manual_seed(0)
    table = table_in(place, 2 * count, [WIDTH] * LAYERS)
    strength = torch.arange(1, WIDTH + 1).float() ** -0.5
    directions = {layer: torch.randn(WIDTH, generator=draw) for layer in TOLD}
    reward = torch.zeros(2 * count)
    for layer, part in enumerate(table):
        for start in range(0, 2 * count, AT_ONCE):
            some = part[start : start + AT_ONCE]
            some.copy_(torch.randn(some.shape, generator=draw) * strength)
            if layer in TOLD:
                reward[start : start + AT_ONCE] += some @ directions[layer]
    delta = (2 / reward.std()) * (reward[0::2] - reward[1::2])
    left = (torch.rand(count, generator=draw) < torch.sigmoid(delta)) ^ (torch.rand(count, generator=draw) < TURNED)
    comparisons = [
        Comparison(2 * row, 2 * row + 1, "left" if said else "right", None, f"person {row % ANNOTATORS}", f"prompt {row}")
        for row, said in enumerate(left.tolist())
    ]
    return {f"layer_{layer}": part for layer, part in enumerate(table)}, Labels(comparisons=comparisons)


class _Peak:
    """The most that this process holds for itself, looked at again and again from a thread."""

    def __init__(self) -> None:
        self._most, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._ended.wait(0.02):
            memory = process.memory_info()
            self._most = max(self._most, memory.rss - memory.shared)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the fit of a reward takes as labels grow.")
    parser.add_argument("--labels", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
