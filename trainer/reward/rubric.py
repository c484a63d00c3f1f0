"""What people say of each answer beside their verdict, as a reward run reads it: the rubric's yes, no or neither, and marks.

A question has a head like a criterion's: its answers are ratings of two points, so that some people may say yes more readily than
others. So has a reason for marks: yes where an answer bears a good mark, or none that is bad, so that more is always better; of
whoever could not give the reason nothing is known. Knows rows and names; no answers' texts, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from trainer.contract.messages import Message
from trainer.files.readable import Unusable

NO, YES = 1, 2  # as a rating of two points
SAID: Final[Mapping[str, int | None]] = MappingProxyType({"yes": YES, "no": NO, "cannot_say": None})
TONES: Final = ("bad", "good")  # of a reason for marks
Rubric = Mapping[str, Mapping[str, int | None]]  # side of the label -> question -> what was said; None: they could not say


class Answered(NamedTuple):
    """What one person answered to one question about one answer, or said by marking it, or not."""

    answer: int  # index into Labels.answers
    item: str
    said: int | None  # NO, YES, or None for who could not say
    annotator: str
    prompt_key: str


def read_rubric(row: Mapping[str, Any], sides: Sequence[str]) -> Rubric:
    """Of a row of preferences.jsonl or ratings.jsonl: its rubric, and its marks by their reasons. Raises Unusable."""
    rubric: Mapping[str, Mapping[str, Any]] = row.get("rubric") or {}
    if any(said[side] not in SAID for said in rubric.values() for side in sides if side in said):
        raise Unusable(Message("rubric_unreadable", choices=", ".join(SAID)))
    marks = _read_marks(row, sides)
    return {side: marks[side] | {item: SAID[said[side]] for item, said in rubric.items() if side in said} for side in sides}


def _read_marks(row: Mapping[str, Any], sides: Sequence[str]) -> dict[str, dict[str, int | None]]:
    """`row["spans"]`: {"reasons": {"wrong": "bad"}, "left": [{"start", "end", "reason"}], ...}, the tone of all offered."""
    spans: Mapping[str, Any] = row.get("spans") or {"reasons": {}}
    tones: Mapping[str, str] = spans["reasons"]
    if any(tone not in TONES for tone in tones.values()):
        raise Unusable(Message("tone_unreadable", choices=", ".join(TONES)))
    borne = {side: {span["reason"] for span in spans.get(side, ())} for side in sides}
    return {side: {key: YES if (key in borne[side]) == (tone == "good") else NO for key, tone in tones.items()} for side in sides}
