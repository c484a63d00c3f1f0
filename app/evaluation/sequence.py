"""A confidence sequence for the mean of bounded values, by betting: it may be looked at after every value, and hold at all looks.

Waudby-Smith & Ramdas 2024, arXiv:2010.09686. Who bets at fair odds that the mean of values in [0, 1] lies above m multiplies
their capital by 1 + bet (value - m) at each value. If it does not lie above m, capital grows on average not at all, and ever
reaches 1 / error with a probability of at most error (Ville 1939). A mean m is below the sequence's lower end once that much
was won against it. The upper end is the same bet on 1 - value. Each end is wrong at any time with a probability of at most
`error`; both together hold the mean at all times with at least 1 - 2 error.

How large the bets are decides how soon, never whether it is true, as long as a bet knows the past alone. Here the capital is
split over a few sizes that stay (the paper's diversified bets): what is won depends on the values and not on their order, more
wins never win less, and it is found sooner than with the paper's predictable plug-in (bench/RESULTS.md).

Everything here works on floats, and on NumPy's arrays of many at once: means (the interval), or evaluations
(bench/evaluation.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Number: TypeAlias = "float | NDArray[np.float64]"

BETS: Final = (0.25, 0.5, 1.0, 100.0)  # capital per unit of value; the last is always cut to what can be lost
SHARES: Final = (0.35, 0.35, 0.15, 0.15)  # of the capital at first
AT_MOST: Final = 0.95  # of the capital is lost by one value
GRID: Final = 1000  # the ends of an interval are told in thousandths, outwards

PLAIN_SHARE: Final = 0.25  # of the capital bets on values as they are, where there are predictions


class Value(NamedTuple):
    """What a mean is learned from: in [-reach, 1 + reach], and on average, given the past, the mean."""

    value: Number
    reach: Number = 0.0


class Capital:
    """What has become of 1 that was bet on the mean being above `mean`, in (0, 1)."""

    __slots__ = ("_mean", "_parts")

    def __init__(self, mean: Number, shares: Sequence[float] = SHARES) -> None:
        """`shares`: of each size of BETS, together 1."""
        self._mean = mean
        self._parts: list[Number] = list(shares)

    def bet(self, value: Value) -> Number:
        """The capital after this value: the more, the higher the value, and the lower `mean`."""
        most = AT_MOST / (self._mean + value.reach)
        over = value.value - self._mean
        self._parts = [part * (1.0 + _lesser(bet, most) * over) for part, bet in zip(self._parts, BETS, strict=True)]
        return self.now

    @property
    def now(self) -> Number:
        return sum(self._parts[1:], self._parts[0])


def mirrored(value: Value) -> Value:
    """To bet on a mean below m is to bet on that of 1 - value above 1 - m."""
    return Value(1.0 - value.value, value.reach)


class ControlVariate:
    """Values with what was foretold of them taken out, as far as it has been right.

    A prediction p made before its verdict differs by p - q from the mean q of predictions for others of its kind, which nobody
    is asked about: 0 on average. value - rho (p - q) has the mean of `value` for any rho that is chosen by the past, and
    deviates less if p goes together with the value (prediction-powered inference: Angelopoulos et al. 2023, arXiv:2301.09633;
    with e-values, R-AutoEval+, Park et al. 2025, arXiv:2505.18659). rho is the slope of values on p - q so far, drawn to 0 by
    PRIOR; where predictions are useless it stays there, where they are wrong it is negative.
    """

    PRIOR: Final = 1.0  # added to the sum of (p - q)^2

    __slots__ = ("_difference_squares", "_products", "_total", "_units")

    def __init__(self) -> None:
        self._units = 0
        self._total: Number = 0.5
        self._products: Number = 0.0
        self._difference_squares: Number = self.PRIOR

    def adjusted(self, value: Number, difference: Number) -> Value:
        """The next value, and p - q for it; both are learned from."""
        slope = self._products / self._difference_squares
        rho = _lesser(_greater(slope, -1.0), 1.0)
        usual = self._total / (self._units + 1)
        self._products = self._products + (value - usual) * difference
        self._difference_squares = self._difference_squares + difference * difference
        self._total = self._total + value
        self._units += 1
        return Value(value - rho * difference, _size(rho))


@dataclass(frozen=True, slots=True)
class Bets:
    """Capital that is bet on values as they are and, in part, on adjusted ones: at each moment what both have become."""

    plain: Sequence[Value]
    adjusted: Sequence[Value] | None = None  # as many

    def capital(self, mean: Number) -> list[Number]:
        """After each value, for the bet that the mean lies above `mean`."""
        plain = _run(self.plain, mean)
        if self.adjusted is None:
            return plain
        return [
            PLAIN_SHARE * one + (1.0 - PLAIN_SHARE) * other for one, other in zip(plain, _run(self.adjusted, mean), strict=True)
        ]

    def until(self, count: int) -> Bets:
        return Bets(self.plain[:count], None if self.adjusted is None else self.adjusted[:count])

    def mirrored(self) -> Bets:
        adjusted = None if self.adjusted is None else [mirrored(value) for value in self.adjusted]
        return Bets([mirrored(value) for value in self.plain], adjusted)


def bets(values: Iterable[float], differences: Iterable[float | None] | None = None) -> Bets:
    """`differences`: for each value, what was foretold less what is foretold elsewhere (`ControlVariate`); None: nothing was."""
    plain = [Value(value) for value in values]
    known = None if differences is None else list(differences)
    if known is None or not any(difference is not None for difference in known):
        return Bets(plain)
    control = ControlVariate()
    return Bets(
        plain,
        [one if by is None else control.adjusted(one.value, by) for one, by in zip(plain, known, strict=True)],
    )


def intervals(evidence: Bets, error: float) -> list[tuple[float, float]]:
    """After each value the lower and upper end, in thousandths, each wrong at any time with a probability of at most `error`.

    They only draw nearer. Should they ever cross, which happens with the same small probability, the last interval that held
    something stays.
    """
    import numpy as np  # here: the web process starts without it

    means = np.arange(1, GRID) / GRID
    found: list[tuple[float, float]] = []
    lower, upper = 0, GRID
    downward = evidence.mirrored()
    with np.errstate(over="ignore"):  # what is certain wins without end against means near 0
        capitals = list(zip(evidence.capital(means), downward.capital(means), strict=True))
    for up, down in capitals:
        # the lower a mean, the more is won against it: those that are excluded stand together at the left
        new_lower = max(lower, int(np.count_nonzero(up >= 1.0 / error)))
        new_upper = min(upper, GRID - int(np.count_nonzero(down >= 1.0 / error)))
        if new_lower < new_upper:
            lower, upper = new_lower, new_upper
        found.append((lower / GRID, upper / GRID))
    return found


def _run(values: Sequence[Value], mean: Number) -> list[Number]:
    capital = Capital(mean)
    return [capital.bet(value) for value in values]


def _lesser(one: Number, other: Number) -> Number:
    return (one + other - _size(one - other)) / 2.0


def _greater(one: Number, other: Number) -> Number:
    return (one + other + _size(one - other)) / 2.0


def _size(number: Number) -> Number:
    return number.__abs__()
