"""Scalar heads on hidden states. They are float32 whatever the trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ValueHead(nn.Module):
    """V of the state before each token, from the policy's final hidden state there.

    The states are normalised first, because their scale differs by orders of magnitude between models, and one learning rate
    must serve all. It starts as a constant, the first rollout's mean return, which `begin_at` is told: from 0 the first
    advantages would tell early tokens from late ones, by how much of that mean GAE has discounted, and hardly answers apart.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(..., D) hidden states -> (...) values."""
        values: Tensor = self.out(self.norm(states.float())).squeeze(-1)
        return values

    @torch.no_grad()
    def begin_at(self, value: float) -> float:
        """Make this its value of every state while it has learned nothing; returns by how much its values rose."""
        rise = value - float(self.out.bias)
        self.out.bias.fill_(value)
        return rise
