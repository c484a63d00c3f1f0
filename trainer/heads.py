"""Scalar heads on hidden states. They are float32 whatever the trunk."""

from __future__ import annotations

from torch import Tensor, nn


class ValueHead(nn.Module):
    """V of the state before each token, from the policy's final hidden state there.

    The states are normalised first, because their scale differs by orders of magnitude between models, and one learning rate
    must serve all. Starts at exactly 0: before anything is learned, the advantage is the reward itself.
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
