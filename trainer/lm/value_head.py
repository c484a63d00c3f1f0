"""The value head, PPO's estimate of what is still to come; float32 whatever the trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.lm.machine.device import HOST


class ValueHead(nn.Module):
    """V of the state before each token: linear in the policy's final hidden state there, and in those of the answer so far.

    A reward that averages over an answer's tokens is made up as they come; the sum of the states up to here, over the length
    that an answer may have, is how much of it there is already (decision 0013). States are normalised first, because their
    scale differs by orders of magnitude between models, and one learning rate must serve all. It starts as a constant, the
    first rollout's mean return, which `begin_at` is told: from 0 the first advantages would tell early tokens from late ones,
    by how much of that mean GAE has discounted, and hardly answers apart.
    """

    def __init__(self, width: int, longest: int) -> None:
        super().__init__()
        self.longest = longest  # tokens that an answer may have
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.out = nn.Linear(width, 1)
        self.so_far = nn.Linear(width, 1, bias=False)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, D) hidden states before each token of answers, the first token at 0 -> (B, T) values, on the host."""
        states = self.norm(states.float())
        values: Tensor = self.out(states) + self.so_far(states.cumsum(1) / self.longest)
        return values.squeeze(-1).to(HOST)

    @torch.no_grad()
    def begin_at(self, value: float) -> float:
        """Make this its value of every state while it has learned nothing; returns by how much its values rose."""
        rise = value - float(self.out.bias)
        self.out.bias.fill_(value)
        return rise
