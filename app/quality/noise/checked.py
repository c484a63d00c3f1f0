"""What came of each person's checks, in the order in which they were answered: the same again, what is known to be right."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.models import Check, Gold, Label
from app.quality.gold.pausing import NEAR, is_right
from app.quality.steadiness import said_before, said_to_check


class Checked(NamedTuple):
    user_id: int
    gold: bool  # else a repeat
    right: bool


def checked(session: Session, project_id: int) -> list[Checked]:
    """By the order of the labels; of each check the first version, of what came back the one that stood by then, and nothing that
    was taken back.
    """
    again, before = aliased(Label), aliased(Label)

    rows = session.execute(
        select(again, Gold, before)
        .select_from(Check)
        .join(again, said_to_check(again))
        .outerjoin(Gold, Gold.id == Check.gold_id)
        .outerjoin(before, said_before(before))
        .where(Check.project_id == project_id)
        .order_by(again.id)
    )
    found = []
    for label, gold, earlier in rows:
        if gold is not None:
            found.append(Checked(label.annotator_id, True, is_right(gold, label)))
        elif earlier is not None:
            found.append(Checked(label.annotator_id, False, _same(label, earlier)))
    return found


def _same(one: Label, other: Label) -> bool:
    """Whether two verdicts on the same answers say the same, whichever stood left; ratings within one step."""
    if one.overall is not None and other.overall is not None:
        return abs(one.overall - other.overall) <= NEAR
    return _said(one) == _said(other)


def _said(label: Label) -> int | str | None:
    return {"left": label.left_generation_id, "right": label.right_generation_id}.get(label.choice or "", label.choice)
