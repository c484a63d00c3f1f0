"""What an evaluation will take, before anybody is asked: how many prompts, and how likely its budget is to see a better
candidate.

It is played many times with made-up verdicts, by the very bets that will decide (`app/evaluation/sequence.py`), with a fixed
seed and kept in memory. Prompts differ: their win rates scatter about the candidate's by SPREAD, which matters only where a
prompt has several verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from app.evaluation.decision import DEFAULT_ERROR, DEFAULT_FLAG_MARGIN, DEFAULT_UNITS, EQUAL, clearing
from app.evaluation.sequence import PLAIN_SHARE, Capital, ControlVariate, Value, mirrored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RATES: Final = (0.55, 0.6, 0.7)  # true win rates that a page tells of
PLAYS: Final = 1000  # a share of them is known to 1.6 points at worst
SPREAD: Final = 0.2  # standard deviation of win rates over prompts
NEVER: Final = 10**9


@dataclass(frozen=True, slots=True)
class Expected:
    """Of a candidate that truly wins so often."""

    rate: float
    units: float  # prompts until it is decided, on average, at most the budget
    verdicts: float
    power: float  # the chance that it is promoted within the budget


@lru_cache(maxsize=64)
def expected(
    *,
    planned: int = DEFAULT_UNITS,
    verdicts_per_unit: int = 1,
    tie_share: float = 0.0,
    candidates: int = 1,
    flag_shares: tuple[float, ...] = (),
    error: float = DEFAULT_ERROR,
    flag_margin: float = DEFAULT_FLAG_MARGIN,
    rates: tuple[float, ...] = RATES,
) -> tuple[Expected, ...]:
    """For each rate. `tie_share`: of verdicts, ties and both bad; `flag_shares`: of answers, either side, that have each flag.

    `candidates` share `error`, and each has `planned` prompts to itself. Raises ValueError on numbers out of range.
    """
    if not 0 <= tie_share <= 1 or min(planned, verdicts_per_unit, candidates) < 1 or not all(0 < rate < 1 for rate in rates):
        raise ValueError(f"out of range: planned={planned} each={verdicts_per_unit} ties={tie_share} K={candidates} {rates=}")
    import numpy as np  # here: the web process starts without it

    draw = np.random.default_rng(17)
    found = []
    for rate in rates:
        values = verdicts(draw, rate, tie_share, verdicts_per_unit, (planned, PLAYS))
        flags = [flagged(draw, share, share, verdicts_per_unit, (planned, PLAYS)) for share in flag_shares]
        looks = play(values, flags=flags, error=error / candidates, flag_margin=flag_margin)
        units = float(np.minimum(looks.decided, planned).mean())
        power = float((looks.promoted < NEVER).mean())
        found.append(Expected(rate, units, units * verdicts_per_unit, power))
    return tuple(found)


def verdicts(
    draw: np.random.Generator, rate: float, tie_share: float, each: int, shape: tuple[int, int], spread: float = SPREAD
) -> Floats:
    """Values of units, (units, plays): each the mean of so many verdicts on one prompt, whose own rate is drawn from a Beta."""
    ties = min(tie_share, 2.0 * rate, 2.0 * (1.0 - rate))
    usual = min(max((rate - ties / 2.0) / max(1.0 - ties, 1e-9), 1e-6), 1.0 - 1e-6)  # of those that are no ties
    sure = max(usual * (1.0 - usual) / spread**2 - 1.0, 0.1)
    own = draw.beta(usual * sure, (1.0 - usual) * sure, shape)
    tied = draw.binomial(each, ties, shape)
    values: Floats = (draw.binomial(each - tied, own) + tied / 2.0) / each
    return values


def flagged(draw: np.random.Generator, candidate: float, baseline: float, each: int, shape: tuple[int, int]) -> Floats:
    """The candidate's share of flagged verdicts less the baseline's, (units, plays)."""
    difference: Floats = (draw.binomial(each, candidate, shape) - draw.binomial(each, baseline, shape)) / each
    return difference


@dataclass(frozen=True, slots=True)
class Looks:
    """For each of many evaluations, (plays,): after how many units something was shown; NEVER: not within them."""

    promoted: NDArray[np.int64]
    rejected: NDArray[np.int64]  # by the win rate or a flag; the budget is not looked at

    @property
    def decided(self) -> NDArray[np.int64]:
        import numpy as np

        return np.minimum(self.promoted, self.rejected)


def play(
    values: Floats,  # (units, plays) in [0, 1]
    *,
    flags: Sequence[Floats] = (),  # each (units, plays) in [-1, 1]
    differences: Floats | None = None,  # (units, plays): what was foretold less what is usual
    error: float = DEFAULT_ERROR,
    flag_margin: float = DEFAULT_FLAG_MARGIN,
) -> Looks:
    """Many evaluations of one candidate at once, as `decide` decides each."""
    import numpy as np

    plays = values.shape[1]
    above, below = np.full(plays, NEVER), np.full(plays, NEVER)
    up, down = Capital(EQUAL), Capital(EQUAL)
    adjusted_up, adjusted_down = Capital(EQUAL), Capital(EQUAL)
    control = ControlVariate()
    for count, row in enumerate(values, 1):
        value = Value(row)
        for_it, against_it = up.bet(value), down.bet(mirrored(value))
        if differences is not None:
            adjusted = control.adjusted(row, differences[count - 1])
            for_it = PLAIN_SHARE * for_it + (1.0 - PLAIN_SHARE) * adjusted_up.bet(adjusted)
            against_it = PLAIN_SHARE * against_it + (1.0 - PLAIN_SHARE) * adjusted_down.bet(mirrored(adjusted))
        _note(above, for_it >= 1.0 / error, count)
        _note(below, against_it >= 1.0 / error, count)
    passed, failed = above, below
    for shares in flags:
        cleared, worse = _play_flag(shares, flag_margin, error, len(flags))
        passed, failed = np.maximum(passed, cleared), np.minimum(failed, worse)
    return Looks(np.where(passed < failed, passed, NEVER), np.where(failed <= passed, failed, NEVER))


def _play_flag(shares: Floats, margin: float, error: float, flags: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import numpy as np

    cleared, worse = np.full(shares.shape[1], NEVER), np.full(shares.shape[1], NEVER)
    rise, fall = Capital(EQUAL), clearing(margin)
    for count, row in enumerate(shares, 1):
        value = Value((row + 1.0) / 2.0)
        _note(cleared, fall.bet(mirrored(value)) >= 1.0 / error, count)
        _note(worse, rise.bet(value) >= flags / error, count)
    return cleared, worse


def _note(first: NDArray[np.int64], there: object, count: int) -> None:
    first[(first == NEVER) & there] = count
