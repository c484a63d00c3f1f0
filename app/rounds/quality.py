"""How good a reward model is, from the figures its run left: the headline with its interval, and what to read beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app import words
from app.languages import _


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
    for prefix, count, what in (("", "decided", _("comparisons")), ("rating_", "rating_pairs", _("pairs of ratings"))):
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
        parts.append(
            _(
                "%(comparisons)s (%(ties)s, %(bad)s both bad)",
                comparisons=words.count(comparisons, "comparison"),
                ties=words.count(ties, "tie"),
                bad=words.number(bad),
            )
        )
    if ratings:
        parts.append(words.count(ratings, "rating"))
    prompts = int(_number(figures, "prompts") or 0)
    if parts and prompts:
        parts.append(_("on %(prompts)s", prompts=words.count(prompts, "prompt")))
    return _(", ").join(parts)


def _beside(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an honest reader asks next: length, calibration, the form of the model."""
    shorter, judged = _number(figures, "shorter_accuracy"), int(_number(figures, "shorter_decided") or 0)
    forms = {"head": _("head on the frozen base"), "lora": _("adapters and a scalar head")}
    found = [
        (
            _("Right where the shorter answer won"),
            f"{words.percent(shorter)} (n = {judged:,})" if shorter is not None and judged else None,
        ),
        (_("The longer answer won"), _percent(figures, "longer_wins")),
        (_("Correlation of reward with log length"), _plain(figures, "length_correlation")),
        (_("Calibration error"), _percent(figures, "ece")),
        (_("Surprise at a verdict"), _plain(figures, "nll", _(" nats"))),
        (_("Form"), forms.get(str(figures.get("form")))),
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
