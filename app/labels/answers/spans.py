"""Passages that a verdict marks in an answer, each with a reason, as offsets into the exact text.

Offsets count Unicode code points from 0; the end is behind the last one. A label keeps the marked words themselves, too, and
which reasons were offered in which version of their names: where one was, an answer without its mark says something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypedDict

from app.language.formats import listed
from app.language.languages import _
from app.models.criteria import wordings

MOST_SPANS: Final = 50  # in one answer
REASONS: Final = "reasons"
Said = Mapping[str, Any]  # {"reasons": {"wrong": 1}, "left": [Span], "right": [...]}, as a verdict has it


class Span(TypedDict):
    """As a sender gives it `quote` may be missing, or None."""

    start: int
    end: int
    reason: str
    quote: str


class Marked(NamedTuple):
    """One mark as it is told: in the words of its reason that were shown."""

    side: str
    reason: str
    words: str
    tone: str
    span: Span


@dataclass(frozen=True, slots=True)
class Marking:
    """The reasons that a verdict may give, and the texts that it may mark."""

    reasons: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # in force and retired ones, which it may still have seen
    in_force: Sequence[str] = ()
    texts: Mapping[str, str] = field(default_factory=dict)  # side -> the answer

    def fault(self, said: Said, sides: Sequence[str]) -> str | None:
        """The first thing that is wrong, in a sentence."""
        spans = spans_of(said)
        if spans.keys() - set(sides):
            return _("Marks belong to %(sides)s.", sides=listed(sides))
        versions: Mapping[str, int] = said.get(REASONS) or {}
        named = [*versions, *(span["reason"] for marked in spans.values() for span in marked)]
        if unknown := [key[:40] for key in named if key not in self.reasons]:
            return _("This project has no reason called %(names)s for a mark.", names=listed(unknown[:3]))
        for key, version in versions.items():
            if version not in range(1, self.reasons[key]["version"] + 1):
                return _("The reason %(name)s never had such a version.", name=key)
        faults = (self._fault_in(side, marked) for side, marked in spans.items())
        return next((fault for fault in faults if fault), None)

    def _fault_in(self, side: str, marked: Sequence[Mapping[str, Any]]) -> str | None:
        text = self.texts[side]
        if len(marked) > MOST_SPANS:
            return _("More than %(most)s marks in one answer are too many.", most=MOST_SPANS)
        for span in marked:
            start, end, quote = span["start"], span["end"], span.get("quote")
            if not start < end <= len(text):
                return _(
                    "A mark goes from %(start)s to %(end)s, but that answer has the places 0 to %(last)s, and a mark ends behind "
                    "its start.",
                    start=start,
                    end=end,
                    last=len(text),
                )
            if not text[start:end].strip():
                return _("The mark from %(start)s to %(end)s holds nothing but space.", start=start, end=end)
            if quote is not None and quote != text[start:end]:
                return _(
                    "From %(start)s to %(end)s the answer does not read as quoted. Places count Unicode code points from 0, not "
                    "bytes or UTF-16 units.",
                    start=start,
                    end=end,
                )
        placed = sorted((span["reason"], span["start"], span["end"]) for span in marked)
        if any(one[0] == other[0] and other[1] < one[2] for one, other in pairwise(placed)):
            return _("Two marks with the same reason overlap; one mark over both says the same.")
        return None

    def stored(self, said: Said | None) -> dict[str, Any] | None:
        """As a label keeps it; none where nothing was offered. A sender that names no reasons was offered those of today."""
        if said is None or not self.reasons:
            return None
        spans = {side: sorted(map(self._quoted(side), marked), key=_place) for side, marked in spans_of(said).items() if marked}
        used = {span["reason"] for marked in spans.values() for span in marked}
        given: Mapping[str, int] | None = said.get(REASONS)
        offered = dict.fromkeys(self.in_force, 0) if given is None else given
        reasons = {key: offered.get(key) or self.reasons[key]["version"] for key in sorted({*offered, *used})}
        return {REASONS: reasons, **spans} if reasons else None

    def _quoted(self, side: str) -> Any:
        text = self.texts.get(side, "")
        return lambda span: Span(
            start=span["start"], end=span["end"], reason=span["reason"], quote=text[span["start"] : span["end"]]
        )


NOTHING_MARKED: Final = Marking()


def marking_for(in_force: Iterable[Mapping[str, Any]], retired: Iterable[Mapping[str, Any]], texts: Mapping[str, str]) -> Marking:
    here = list(in_force)
    return Marking({item["key"]: item for item in (*retired, *here)}, [item["key"] for item in here], texts)


def spans_of(said: Said | None) -> dict[str, Sequence[Span]]:
    """The marks by side; an answer without any is left out."""
    return {side: marked for side, marked in (said or {}).items() if side != REASONS and marked}


def turned(said: Said | None, sides: Mapping[str, str]) -> dict[str, Any] | None:
    """The same for who sees the answers on other sides."""
    return None if said is None else {sides.get(side, side): marked for side, marked in said.items()}


def told(said: Said | None, reasons: Iterable[Mapping[str, Any]]) -> list[Marked]:
    """Each mark in the words of its reason that were shown: by side, then in the order of the text."""
    known, versions = {item["key"]: item for item in reasons}, (said or {}).get(REASONS, {})
    return [
        Marked(side, span["reason"], wordings(item)[versions[span["reason"]] - 1], item["tone"], span)
        for side, marked in sorted(spans_of(said).items())
        for span in marked
        if (item := known.get(span["reason"]))
    ]


def _place(span: Mapping[str, Any]) -> tuple[int, int, str]:
    return span["start"], span["end"], span["reason"]
