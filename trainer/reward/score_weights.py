"""What PPO is rewarded for: a weighted sum of the scores that people's criteria teach, less what their flags cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

OVERALL, FLAGS = "overall", "flags"


@dataclass(frozen=True)
class ScoreWeights:
    """Weights of the parts of a score, and the scale that their sum is put on."""

    weights: dict[str, float]  # `overall` or a criterion -> weight of its score
    flags: float = 0.0  # score per unit of the cost of flags
    mean: float = 0.0
    deviation: float = 1.0

    def raw(self, parts: Mapping[str, Tensor]) -> Tensor:
        """(N,) the sum, of scores (N,) by name and the cost of flags under `flags`."""
        total = torch.stack([weight * parts[name] for name, weight in self.weights.items()]).sum(0)
        return total - self.flags * parts[FLAGS] if self.flags else total

    def score(self, parts: Mapping[str, Tensor]) -> Tensor:
        return (self.raw(parts) - self.mean) / self.deviation
