"""What people answer to the questions of a project's rubric about each answer, as a reward run reads it: yes, no, or neither.

A question has a head like a criterion's: its answers are ratings of two points, so that some people may say yes more readily than
others. Knows rows and names; no answers' texts, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from trainer.contract.messages import Message
from trainer.files.readable import Unusable

NO, YES = 1, 2  # as a rating of two points
SAID: Final[Mapping[str, int | None]] = MappingProxyType({"yes": YES, "no": NO, "cannot_say": None})
Rubric = Mapping[str, Mapping[str, int | None]]  # side of the label -> question -> what was said; None: they could not say


class Answered(NamedTuple):
    """What one person answered to one question about one answer."""

    answer: int  # index into Labels.answers
    item: str
    said: int | None  # NO, YES, or None for who could not say
    annotator: str
    prompt_key: str


def read_rubric(row: Mapping[str, Any], sides: Sequence[str]) -> Rubric:
    """Of a row of preferences.jsonl or ratings.jsonl. Raises Unusable."""
    rubric: Mapping[str, Mapping[str, Any]] = row.get("rubric") or {}
    if any(said[side] not in SAID for said in rubric.values() for side in sides if side in said):
        raise Unusable(Message("rubric_unreadable", choices=", ".join(SAID)))
    return {side: {item: SAID[said[side]] for item, said in rubric.items() if side in said} for side in sides}
