"""How good a reward model is, from the figures its run left: the headline with its interval, and what to read beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app import words


@dataclass(frozen=True)
class Quality:
    """`accuracy` of judgements it had not seen, with its 95 % interval; `what` they were; `ceiling`: how often people agree."""

    accuracy: float
    low: float | None
    high: float | None
    judgements: int
    what: str
    ceiling: float | None
    ceiling_pairs: int
    beside: list[tuple[str, str]]


def quality_of(figures: Mapping[str, Any]) -> Quality | None:
    """The quality on comparisons where there are any, else on pairs of ratings; None where nothing was measured."""
    for prefix, count, what in (("", "decided", "comparisons"), ("rating_", "rating_pairs", "pairs of ratings")):
        accuracy = _number(figures, f"{prefix}accuracy")
        if accuracy is not None:
            return Quality(
                accuracy=accuracy,
                low=_number(figures, f"{prefix}accuracy_low"),
                high=_number(figures, f"{prefix}accuracy_high"),
                judgements=int(_number(figures, count) or 0),
                what=what,
                ceiling=_number(figures, "agreement_ceiling"),
                ceiling_pairs=int(_number(figures, "agreement_pairs") or 0),
                beside=_beside(figures),
            )
    return None


def learned_from(figures: Mapping[str, Any]) -> str:
    """The judgements by kind: "150 comparisons (12 ties, 3 both bad), 40 ratings, on 96 prompts"; empty when not told."""
    comparisons, ratings = (int(_number(figures, name) or 0) for name in ("comparisons", "ratings"))
    parts = []
    if comparisons:
        ties, bad = (int(_number(figures, name) or 0) for name in ("ties", "both_bad"))
        parts.append(f"{words.count(comparisons, 'comparison')} ({words.count(ties, 'tie')}, {bad:,} both bad)")
    if ratings:
        parts.append(words.count(ratings, "rating"))
    prompts = int(_number(figures, "prompts") or 0)
    if parts and prompts:
        parts.append(f"on {words.count(prompts, 'prompt')}")
    return ", ".join(parts)


def _beside(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an honest reader asks next: length, calibration, the form of the model."""
    shorter, judged = _number(figures, "shorter_accuracy"), int(_number(figures, "shorter_decided") or 0)
    found = [
        (
            "Right where the shorter answer won",
            f"{words.percent(shorter)} (n = {judged:,})" if shorter is not None and judged else None,
        ),
        ("The longer answer won", _percent(figures, "longer_wins")),
        ("Correlation of reward with log length", _plain(figures, "length_correlation")),
        ("Calibration error", _percent(figures, "ece")),
        ("Surprise at a verdict", _plain(figures, "nll", " nats")),
        ("Form", {"head": "head on the frozen base", "lora": "adapters and a scalar head"}.get(str(figures.get("form")))),
    ]
    return [(term, value) for term, value in found if value is not None]


def _percent(figures: Mapping[str, Any], name: str) -> str | None:
    value = _number(figures, name)
    return None if value is None else words.percent(value)


def _plain(figures: Mapping[str, Any], name: str, unit: str = "") -> str | None:
    value = _number(figures, name)
    return None if value is None else words.number(value, 2) + unit


def _number(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
