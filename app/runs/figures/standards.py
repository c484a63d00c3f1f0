"""By whose standards a reward model was fitted, in sentences: who counts less, and whose taste it follows. Nobody is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.language import formats
from app.language.languages import _


def standards_of(figures: Mapping[str, Any]) -> list[str]:
    """Nothing for a run that weighed nobody and looked for no tastes, or is of a version that did not."""
    return [*_reliability(figures), *_taste(figures)]


def _reliability(figures: Mapping[str, Any]) -> list[str]:
    less, turned = figures.get("people_counting_less"), figures.get("people_turned_round")
    if less is None or turned is None:
        return []
    if not less:
        return [_("People were weighed by how reliable each is: nobody counts for much less than the others.")]
    said = _(
        "%(less)s of %(people)s count for less: they often decide against what the others’ labels, or known answers, say.",
        less=formats.number(less),
        people=formats.count(figures["people_weighed"], "person"),
    )
    if turned:
        said += " " + _("Verdicts of %(turned)s of them are taken the other way round.", turned=formats.number(turned))
    return [said + _gain(figures, "reliability")]


def _taste(figures: Mapping[str, Any]) -> list[str]:
    if not figures.get("taste"):
        return [] if figures.get("accuracy_with_taste") is None else [_("Telling people’s tastes apart foretold them no better.")]
    follows = {
        "larger": _("The model follows the larger group."),
        "smaller": _("The model follows the smaller group."),
    }.get(figures.get("taste_followed", ""), _("The model follows what all of them like on average."))
    said = _(
        "People’s tastes differ: %(larger)s here and %(smaller)s there.",
        larger=formats.number(figures["taste_larger"]),
        smaller=formats.number(figures["taste_smaller"]),
    )
    return [f"{said} {follows}{_gain(figures, 'taste')}"]


def _gain(figures: Mapping[str, Any], what: str) -> str:
    """What it is worth on verdicts that were held out; nothing where it was not tried both ways."""
    before, now = figures.get(f"accuracy_without_{what}"), figures.get(f"accuracy_with_{what}")
    if before is None or now is None:
        return ""
    return " " + _(
        "Of verdicts it had not seen, that foretells %(now)s in place of %(before)s.",
        now=formats.percent(now),
        before=formats.percent(before),
    )
