"""What a head would say of what is written of an answer so far, beside as much of an average answer. Knows no policy, no labels.

A mean of a layer is taken over the tokens that are there, and average ones in place of those still missing to the usual length;
the sum at layer 0 is set against as many average tokens. So said, of nothing it says 0, an average token changes nothing, and it
comes closer to the head's word on the whole answer the more of it is there. Of length it says nothing: that is judged at the
end, with the price on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.reward.features import SUM
from trainer.reward.head.model import Head


class PartialScores:
    """Adds up, while forward passes run, what each token of B answers brings to the features of one head.

    On the scale of the head's scores, times `weight`: what its score counts in the one that is paid.
    """

    def __init__(self, head: Head, settings: Mapping[str, Any], answers: int, width: int, weight: float) -> None:
        """`settings`: as in head.json."""
        self._usual = math.exp(float(settings["length_mean"]))  # tokens
        scale = weight / float(settings["panel_deviation"])
        self._weights = {name: scale * group.weights.double() / group.spread for name, group in head.groups.items()}
        self._averages = {name: float(group.centre.double() @ self._weights[name]) for name, group in head.groups.items()}
        self._means = torch.zeros(answers, width, dtype=torch.float64)  # by each token (B, T), of the groups that are means
        self._sums = torch.zeros(answers, width, dtype=torch.float64)

    def visit(self, layer: int, states: Tensor, rows: Tensor, inside: Tensor, to: Tensor) -> None:
        """Take `hidden_states[layer]`, (n, L, D), of the answers `rows` (n,): those `inside` (n, L) are tokens of answers, whose
        places among T tokens `to` (n, T) says.
        """
        for name, found, parts in ((f"layer_{layer}", self._means, 1.0), (SUM if layer == 0 else "", self._sums, self._usual)):
            if name in self._weights:
                said = (states.detach().float() @ self._weights[name].float().to(states.device)).to(found.device).double()
                each = torch.zeros(to.shape, dtype=torch.float64)
                each[to] = said[inside] - self._averages[name] / parts
                found[rows] += each

    def read(self, layer: int, row: int, states: Tensor) -> None:
        """Take `hidden_states[layer]`, (n, D), of the first n tokens of one answer."""
        written = torch.arange(self._means.shape[1]) < len(states)
        inside = torch.ones(1, len(states), dtype=torch.bool)
        self.visit(layer, states[None], torch.tensor([row]), inside, written[None])

    def before_each(self, mask: Tensor) -> Tensor:
        """(B, T) float32 before each token of the answers, of which `mask` (B, T) is True; 0 elsewhere and before the first."""
        written = torch.arange(mask.shape[1], dtype=torch.float64)  # tokens before each place
        means, sums = (each.cumsum(1) - each for each in (self._means, self._sums))
        return torch.where(mask, means / written.clamp(min=self._usual) + sums, 0.0).float()
