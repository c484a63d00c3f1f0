"""How long a warm refit takes: `python bench/refit.py --labels 5000`.

Planted preferences over features of SmolLM2-135M's sizes (a dozen layers of 576 numbers, the sum of embeddings, the log length),
as they lie in the cache. The reward hides in two of the layers, and one verdict in ten is turned round. The earlier head knows
four fifths of the labels; the last fifth is the batch that came since. Head and posterior are refitted, and compared on fresh
pairs with a fit that begins from nothing. Wall and processor seconds, because they differ on a busy machine; one JSON line.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import time

import torch
from torch import Tensor

from trainer.reward.data import Comparison
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings
from trainer.reward.head.model import Head

LAYERS, WIDTH, TOLD = 12, 576, ("layer_14", "layer_18")
TURNED = 0.1
HELD_OUT = 4000
ANNOTATORS = 8


class Judged:
    """Answers with features, and people's verdicts about pairs of them."""

    def __init__(self, labels: int, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        answers = 2 * (labels + HELD_OUT)
        # Layers of one text are much alike, and their directions are of very different strength.
        shared = torch.randn(answers, 64, generator=draw)
        self.features: dict[str, Tensor] = {}
        for layer in range(0, 2 * LAYERS, 2):
            strength = torch.arange(1, WIDTH + 1).float() ** -0.5
            own = torch.randn(answers, WIDTH, generator=draw) * strength
            self.features[f"layer_{layer}"] = own + 0.3 * shared @ torch.randn(64, WIDTH, generator=draw) / 8
        lengths = torch.randint(8, 64, (answers, 1), generator=draw).float()
        self.features |= {"sum_0": self.features["layer_0"] * lengths, "log_length": lengths.log()}
        told = [name for name in self.features if name in TOLD] or list(self.features)[4:6]
        reward = torch.stack([self.features[name] @ torch.randn(WIDTH, generator=draw) for name in told]).sum(0)
        self.reward = 2 * reward / reward.std()
        delta = self.reward[0::2] - self.reward[1::2]
        left = torch.rand(len(delta), generator=draw) < torch.sigmoid(delta)
        left ^= torch.rand(len(delta), generator=draw) < TURNED
        self.comparisons = [
            Comparison(2 * row, 2 * row + 1, "left" if said else "right", None, f"person {row % ANNOTATORS}", str(row))
            for row, said in enumerate(left.tolist()[:labels])
        ]
        self.held_out = torch.arange(labels, len(delta))

    def accuracy(self, head: Head) -> float:
        """Share of fresh pairs put the right way round by their true rewards."""
        found = head.reward(self.features)
        rows = self.held_out
        agreed = (found[2 * rows] > found[2 * rows + 1]) == (self.reward[2 * rows] > self.reward[2 * rows + 1])
        return float(agreed.float().mean())


def main() -> int:
    parser = argparse.ArgumentParser(description="Seconds of a warm refit of head and posterior, beside a full one.")
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--reliability", action="store_true", help="learn how far to trust each annotator too")
    given = parser.parse_args()
    judged = Judged(given.labels)
    settings = HeadSettings(reliability=given.reliability)

    def timed(count: int, earlier: Head | None = None) -> tuple[Head, float, float]:
        started, worked = time.monotonic(), time.process_time()
        head = fit(judged.features, judged.comparisons[:count], [], settings, earlier)
        return head, time.monotonic() - started, time.process_time() - worked

    earlier, _, _ = timed(given.labels * 4 // 5)
    warm, warm_s, warm_cpu_s = timed(given.labels, earlier)
    full, full_s, full_cpu_s = timed(given.labels)
    figures = {
        "labels": given.labels,
        "refit_s": round(warm_s, 3),
        "refit_cpu_s": round(warm_cpu_s, 3),
        "accuracy": round(judged.accuracy(warm), 4),
        "earlier_accuracy": round(judged.accuracy(earlier), 4),
        "full_refit_s": round(full_s, 3),
        "full_refit_cpu_s": round(full_cpu_s, 3),
        "full_refit_accuracy": round(judged.accuracy(full), 4),
        "columns": sum(len(group.weights) for group in warm.groups.values()),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
