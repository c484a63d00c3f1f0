"""What blind verdicts say about candidates: promote one, reject some, or ask on. Pure: no tables, no clock.

A candidate is promoted once two things are shown, each by a sequence that holds at every look (`app/evaluation/sequence.py`):
- people prefer it: the lower end of its win rate against the baseline reached one half;
- for each flag, that it is not set more often by `flag_margin` or more: the upper end of the difference fell under the margin.
  Not having noticed anything is not enough: ten prompts without a flag say little. Until it is shown the evaluation goes on.
It is rejected once one of these is shown: the upper end of its win rate reached one half; a flag is set more often, by however
little; or, with nothing shown, once the budget of units is spent. What comes after a decision does not change it.

The errors, over all looks together: a candidate that people do not prefer is promoted with a probability of at most `error`;
one for which some flag is set more often by the margin with at most `error` too, for all flags must pass; one that they prefer
is rejected by its win rate with at most `error`, one whose flags are all alike by its flags with at most `error`. The budget
is no error: it says no where nothing is known.

Several candidates share `error` equally: one of K is promoted at a capital of K / error, not 1 / error. That holds whatever
their verdicts have to do with each other and in whatever order they come. e-BH (Wang & Ramdas 2022, arXiv:2009.02824) would
ask for less where several are good, but bounds a share of false discoveries, not the chance that the one which is promoted is
one; and averages of capitals are fair only if each is so given all the others' verdicts (Choe & Ramdas 2024,
arXiv:2402.09698), which the same prompts asked for each are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.evaluation.sequence import Bets, Capital, Number, Value, bets, intervals, mirrored

EQUAL: Final = 0.5  # a win rate

FLAG_SHARES: Final = (0.2, 0.2, 0.05, 0.55)  # most on the largest bet: of most answers a flag says nothing, time after time

DEFAULT_ERROR: Final = 0.05
DEFAULT_FLAG_MARGIN: Final = 0.1  # less is seldom shown within the budget where every tenth answer has the flag: bench/RESULTS.md
DEFAULT_UNITS: Final = 400  # prompts; a candidate that wins 60 % of them is promoted in more than 90 of 100: bench/RESULTS.md


@dataclass(frozen=True, slots=True)
class Unit:
    """One prompt of one candidate against the baseline, complete."""

    value: float  # in [0, 1]: mean of its verdicts, a win 1, a tie or both bad 1/2, a loss 0
    predicted: float | None = None  # in [0, 1]: the same, as the reward model foretold it before any verdict on it


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one candidate.

    Units stand in an order that was not chosen by their verdicts and that only grows at its end. `flags` has for each unit the
    share of verdicts that set the flag on the candidate's answer, less the share that set it on the baseline's; None where it
    could not be set yet, which says nothing.

    `unasked` holds predictions of the same model for prompts that this evaluation never asks about, drawn like the asked ones,
    in random order and fixed before the first verdict. They tell what is foretold of a prompt apart from what is usual:
    without any, predictions cannot help, and are not used.

    `complete`: nobody is asked about a further unit, so that the budget is spent, however many there are.
    """

    units: Sequence[Unit]
    flags: Mapping[str, Sequence[float | None]] = field(default_factory=dict)  # in [-1, 1]
    unasked: Sequence[float] = ()
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where one candidate stands at its last look, or at that which decided; one that is only seen beside: at its last.

    `saved`: how many units more the values alone, without predictions, would have taken to the same decision: counted where
    they got there among the same units, else as many more as their capital needs at the pace at which it has grown, up to the
    budget. Negative where predictions cost something; 0 where nothing was decided by the win rate, or nothing foretold.
    """

    units: int
    mean: float  # of the values
    lower: float  # of the win rate; wrong at any look with at most `error`
    upper: float
    promotes: bool
    rejects: bool
    worse_flags: tuple[str, ...]  # shown to be set more often: these reject
    open_flags: tuple[str, ...]  # not yet shown to be within the margin: promotion waits for them
    spent: bool  # the budget, with nothing shown: rejects
    saved: int
    track: tuple[tuple[int, float, float], ...]  # after so many units: lower, upper


@dataclass(frozen=True, slots=True)
class Decision:
    """`promoted`: of those that may be, the one with the highest mean. It ends the evaluation, as does the last rejection."""

    promoted: int | None
    rejected: frozenset[int]
    verdicts: Mapping[int, Verdict]

    @property
    def over(self) -> bool:
        return self.promoted is not None or len(self.rejected) == len(self.verdicts)


def decide(
    candidates: Mapping[int, Evidence],
    *,
    error: float = DEFAULT_ERROR,
    flag_margin: float = DEFAULT_FLAG_MARGIN,
    planned: int = DEFAULT_UNITS,
    beside: bool = False,
) -> Decision:
    """`planned`: units for each candidate. `beside`: they cannot be promoted, so that nothing ends with what is shown of them,
    and what comes after it counts, too. Raises ValueError on numbers out of range, and on flags that are not one a unit.
    """
    if not 0 < error < 1 or not 0 <= flag_margin < 1 or planned < 1:
        raise ValueError(f"out of range: error={error} flag_margin={flag_margin} planned={planned}")
    each = error / max(1, len(candidates))
    verdicts = {key: _verdict(evidence, each, flag_margin, planned, beside) for key, evidence in candidates.items()}
    passed = [key for key, verdict in verdicts.items() if verdict.promotes]
    return Decision(
        max(passed, key=lambda key: verdicts[key].mean, default=None),
        frozenset(key for key, verdict in verdicts.items() if verdict.rejects),
        verdicts,
    )


def _verdict(evidence: Evidence, error: float, margin: float, planned: int, beside: bool) -> Verdict:
    units = evidence.units[:planned]
    _check(units, evidence)
    values = [unit.value for unit in units]
    against = bets(values, differences(units, evidence.unasked, planned))
    needed = 1.0 / error
    above = first(against.capital(EQUAL), needed)
    below = first(against.mirrored().capital(EQUAL), needed)
    flags = {key: look_at_flag(shares[:planned], margin, error, len(evidence.flags)) for key, shares in evidence.flags.items()}

    passed = latest(above, *(flag.cleared for flag in flags.values()))
    failed = earliest(below, *(flag.worse for flag in flags.values()))
    promotes = passed is not None and (failed is None or passed < failed)
    at = earliest(passed, failed)
    looked = len(units) if at is None or beside else at
    spent = at is None and (evidence.complete or len(units) >= planned)

    track = tuple((count, *ends) for count, ends in enumerate(intervals(against.until(looked), error), 1))
    lower, upper = track[-1][1:] if track else (0.0, 1.0)
    return Verdict(
        units=looked,
        mean=sum(values[:looked]) / looked if looked else EQUAL,
        lower=lower,
        upper=upper,
        promotes=promotes,
        rejects=spent or (failed is not None and not promotes),
        worse_flags=tuple(key for key, flag in flags.items() if flag.worse is not None and flag.worse <= looked),
        open_flags=tuple(key for key, flag in flags.items() if flag.cleared is None or flag.cleared > looked),
        spent=spent,
        saved=_saved(against, looked, above if promotes else below, needed, planned, promotes) if looked == at else 0,
        track=track,
    )


def differences(units: Sequence[Unit], unasked: Sequence[float], planned: int) -> list[float | None]:
    """What was foretold for each unit, less the mean foretold for its own share of the unasked prompts; None where there is
    neither.

    Each has as many as there are for all that are planned, so that no unasked prompt serves twice; one each, where there are
    fewer.
    """
    share = max(1, len(unasked) // planned)
    beside = [unasked[place : place + share] for place in range(0, share * len(units), share)]
    return [
        None if unit.predicted is None or len(others) < share else unit.predicted - sum(others) / share
        for unit, others in zip(units, beside, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class FlagLook:
    """After how many units something was shown of a flag; None: not yet."""

    cleared: int | None  # the rise is less than the margin
    worse: int | None  # there is a rise


def look_at_flag(shares: Sequence[float | None], margin: float, error: float, flags: int) -> FlagLook:
    """`shares`: for each unit the candidate's share of flagged answers less the baseline's, in [-1, 1], or None.

    All flags must be cleared, so that each may spend the whole error; one that is worse suffices, so that they share it.
    """
    values = [None if share is None else Value((share + 1.0) / 2.0) for share in shares]  # in [0, 1], the margin with them
    rise, fall = Capital(EQUAL), clearing(margin)
    return FlagLook(
        cleared=first((fall.now if value is None else fall.bet(mirrored(value)) for value in values), 1.0 / error),
        worse=first((rise.now if value is None else rise.bet(value) for value in values), flags / error),
    )


def clearing(margin: float) -> Capital:
    """A bet, on mirrored values, that a flag's rise is less than the margin."""
    return Capital(1.0 - (margin + 1.0) / 2.0, FLAG_SHARES)


def first(capital: Iterable[Number], needed: float) -> int | None:
    """After how many values that capital was first there."""
    return next((count for count, now in enumerate(capital, 1) if now >= needed), None)


def latest(*counts: int | None) -> int | None:
    """When all had happened; None if one has not."""
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None


def earliest(*counts: int | None) -> int | None:
    return min((count for count in counts if count is not None), default=None)


def _saved(against: Bets, looked: int, at: int | None, needed: float, planned: int, promotes: bool) -> int:
    """See `Verdict`. `at`: when the win rate had decided; flags may have kept it waiting until `looked`."""
    if against.adjusted is None or at is None or at > looked:
        return 0
    plain = Bets((against if promotes else against.mirrored()).plain)
    capital = plain.capital(EQUAL)
    there = first(capital, needed)
    if there is None:
        grown = math.log(capital[looked - 1])
        there = planned if grown <= 0 else min(planned, math.ceil(looked * math.log(needed) / grown))
    return max(there, looked if at < looked else 0) - looked


def _check(units: Sequence[Unit], evidence: Evidence) -> None:
    told = [unit.value for unit in units] + [unit.predicted for unit in units if unit.predicted is not None]
    if not all(0 <= one <= 1 for one in [*told, *evidence.unasked]):
        raise ValueError("a verdict or a prediction lies outside of 0 to 1")
    for key, shares in evidence.flags.items():
        if len(shares) != len(evidence.units) or not all(share is None or -1 <= share <= 1 for share in shares):
            raise ValueError(f"flag {key}: there must be one difference a unit, from -1 to 1")
