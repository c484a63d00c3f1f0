"""A figure with the number it rests on and its 95 % interval. It knows no NumPy: pages import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trainer.contract.intervals import wilson

ENOUGH: Final = 30  # under these a figure is told with its interval, and nothing is made of it


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is None where `n` is too small for any."""

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def enough(self) -> bool:
        return self.n >= ENOUGH and self.value is not None


NOTHING: Final = Figure(0)


def share(hits: float, n: int) -> Figure:
    """Of `n` trials, with Wilson's interval."""
    return Figure(n, hits / n, *wilson(hits / n, n)) if n else NOTHING
