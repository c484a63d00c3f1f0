"""How good a reward model is, from the figures its run left: the headline with its interval, and what to read beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.language import formats
from app.language.languages import _
from app.runs.figures.standards import standards_of

FEWEST_PAIRS = 10  # of verdicts by two people on the same answers, before it is told what a perfect model would reach


@dataclass(frozen=True)
class Share:
    """How often the reward agreed with people on some part of the judgements, which `name` says; `more` is a second figure."""

    name: str
    count: int
    accuracy: float | None
    low: float | None = None
    high: float | None = None
    more: float | None = None


@dataclass(frozen=True)
class Asked:
    """A question of the rubric: how often it was answered in each way, and how it was foretold, where it was tried: `share` is of
    pairs of a yes and a no by one person."""

    share: Share
    yes: int
    no: int
    cannot_say: int
    left_out: bool  # held-out answers do not bear it out


@dataclass(frozen=True)
class Bin:
    """Of the judgements that a reward was about as sure of: how sure on average, and how often it was right."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Quality:
    """`accuracy` of judgements it had not seen, with its 95 % interval; `what` they were; `ceiling`: how often a perfect model
    would agree with one person at the most, as people agree with each other; none where too few judged the same, which
    `ceiling_pairs` tells, unless the run is of a version that did not count them."""

    accuracy: float
    low: float | None
    high: float | None
    judgements: int
    what: str
    ceiling: float | None
    ceiling_low: float | None
    ceiling_high: float | None
    agreement: float | None
    ceiling_pairs: int | None
    standards: list[str]  # sentences: whose verdicts count less, and whose taste it follows
    beside: list[tuple[str, str]]
    groups: list[Share]  # by what the judgement was like
    criteria: list[Share]  # `more`: the weight in PPO's reward
    rubric: list[Asked]  # `more`, too
    annotators: list[Share]  # `more`: the reliability
    layers: list[tuple[str, float]]  # what the head reads -> share of its prior variance
    diagram: list[Bin]


def quality_of(figures: Mapping[str, Any], names: Mapping[str, str] | None = None) -> Quality | None:
    """The quality on comparisons where there are any, else on pairs of ratings; None where nothing was measured."""
    for prefix, count, what in (("", "decided", _("comparisons")), ("rating_", "rating_pairs", _("pairs of ratings"))):
        accuracy = _number(figures, f"{prefix}accuracy")
        if accuracy is not None:
            pairs = int(_number(figures, "agreement_pairs") or 0)
            told = figures if pairs >= FEWEST_PAIRS else {}
            return Quality(
                accuracy=accuracy,
                low=_number(figures, f"{prefix}accuracy_low"),
                high=_number(figures, f"{prefix}accuracy_high"),
                judgements=int(_number(figures, count) or 0),
                what=what,
                ceiling=_number(told, "ceiling"),
                ceiling_low=_number(told, "ceiling_low"),
                ceiling_high=_number(told, "ceiling_high"),
                agreement=_number(told, "agreement"),
                ceiling_pairs=pairs if "ceiling" in figures else None,
                standards=standards_of(figures),
                beside=_beside(figures),
                groups=_groups(figures),
                criteria=_parts({"criteria": _criteria(figures, asked=False)}, "criteria", "labels", "weight", names or {}),
                rubric=_rubric(figures, names or {}),
                annotators=_parts(figures, "annotators", "decided", "reliability", {}),
                layers=_layers(figures),
                diagram=_diagram(figures),
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
                comparisons=formats.count(comparisons, "comparison"),
                ties=formats.count(ties, "tie"),
                bad=formats.number(bad),
            )
        )
    if ratings:
        parts.append(formats.count(ratings, "rating"))
    prompts = int(_number(figures, "prompts") or 0)
    if parts and prompts:
        parts.append(_("on %(prompts)s", prompts=formats.count(prompts, "prompt")))
    return formats.listed(parts)


def _beside(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an honest reader asks next: length, calibration, the form of the model."""
    shorter, judged = _number(figures, "shorter_accuracy"), int(_number(figures, "shorter_decided") or 0)
    forms = {"head": _("head on the frozen base"), "lora": _("adapters and a scalar head")}
    held = {
        "first fold": _("one fold only, as this was a quick refit"),
        "choosing fold": _("the fold on which adapters were chosen"),
    }
    found = [
        (
            _("Right where the shorter answer won"),
            _("%(share)s of %(counted)s", share=formats.percent(shorter), counted=formats.count(judged, "comparison"))
            if shorter is not None and judged
            else None,
        ),
        (_("The longer answer won"), _percent(figures, "longer_wins")),
        (_("Judged answers that the length limit cut"), _cut(figures)),
        (_("Correlation of reward with log length"), _plain(figures, "length_correlation")),
        (_("Calibration error"), _percent(figures, "ece")),
        (_("Temperature that calibrates it"), _plain(figures, "temperature")),
        (_("Surprise at a verdict"), _plain(figures, "nll", _(" nats"))),
        (_("The judge, on labels it never saw"), _percent(figures, "judge_accuracy")),
        (_("Correlation of judge and reward"), _plain(figures, "judge_correlation")),
        (_("Surprise taking everyone at their word"), _plain(figures, "nll_without_reliability", _(" nats"))),
        (_("Surprise weighing annotators by reliability"), _plain(figures, "nll_with_reliability", _(" nats"))),
        (_("Held out"), held.get(str(figures.get("figures_on")))),
        (_("Form"), forms.get(str(figures.get("form")))),
    ]
    return [(term, value) for term, value in found if value is not None]


def _cut(figures: Mapping[str, Any]) -> str | None:
    """Their share of all that were judged; None for a run that did not count them."""
    cut, judged = _number(figures, "cut_answers"), int(_number(figures, "judged_answers") or 0)
    if cut is None or not judged:
        return None
    return _("%(share)s of %(counted)s", share=formats.percent(cut / judged), counted=formats.count(judged, "answer"))


def _groups(figures: Mapping[str, Any]) -> list[Share]:
    """Accuracy where something about the answers could make it easy or hard."""
    named = [
        (_("The shorter answer was chosen"), "shorter_accuracy", "shorter_decided"),
        (_("The longer answer was chosen"), "longer_accuracy", "longer_decided"),
        (_("A rewrite beside the answer it improves"), "rewrite_accuracy", "rewrites"),
    ]
    shares = [Share(name, int(_number(figures, count) or 0), _number(figures, accuracy)) for name, accuracy, count in named]
    return [share for share in shares if share.count and share.accuracy is not None]


def _parts(figures: Mapping[str, Any], name: str, count: str, more: str, names: Mapping[str, str]) -> list[Share]:
    """A figure that holds figures of its own by criterion or annotator; empty for a run that told none."""
    found = figures.get(name)
    parts = found.items() if isinstance(found, Mapping) else ()
    return [
        Share(
            names.get(key, key),
            int(_number(part, count) or 0),
            _number(part, "accuracy"),
            _number(part, "accuracy_low"),
            _number(part, "accuracy_high"),
            _number(part, more),
        )
        for key, part in parts
        if isinstance(part, Mapping)
    ]


def _criteria(figures: Mapping[str, Any], *, asked: bool) -> dict[str, Any]:
    """The figures of criteria, or of questions of the rubric, which stand among them and say how they were answered."""
    found = figures.get("criteria")
    parts = found.items() if isinstance(found, Mapping) else ()
    return {key: part for key, part in parts if isinstance(part, Mapping) and ("cannot_say" in part) == asked}


def _rubric(figures: Mapping[str, Any], names: Mapping[str, str]) -> list[Asked]:
    found = _criteria(figures, asked=True)
    shares = _parts({"rubric": found}, "rubric", "rating_pairs", "weight", names)
    return [_asked(share, part) for share, part in zip(shares, found.values(), strict=True)]


def _asked(share: Share, part: Mapping[str, Any]) -> Asked:
    yes, no, cannot_say = (int(_number(part, way) or 0) for way in ("yes", "no", "cannot_say"))
    return Asked(share, yes, no, cannot_say, left_out=bool(part.get("left_out")))


def _layers(figures: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What the head reads, the weightiest first."""
    found = figures.get("groups")
    shares = [(_layer(key), float(share)) for key, share in found.items()] if isinstance(found, Mapping) else []
    return sorted(shares, key=lambda item: -item[1])


def _layer(key: str) -> str:
    known = {"sum_0": _("sum of the words"), "log_length": _("length of the answer")}
    return known.get(key) or _("layer %(number)s", number=key.removeprefix("layer_"))


def _diagram(figures: Mapping[str, Any]) -> list[Bin]:
    found = figures.get("reliability_diagram")
    return [Bin(**bin_) for bin_ in found] if isinstance(found, list) else []


def _percent(figures: Mapping[str, Any], name: str) -> str | None:
    value = _number(figures, name)
    return None if value is None else formats.percent(value)


def _plain(figures: Mapping[str, Any], name: str, unit: str = "") -> str | None:
    value = _number(figures, name)
    return None if value is None else formats.number(value, 2) + unit


def _number(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
