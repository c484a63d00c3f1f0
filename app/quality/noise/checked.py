"""What came of each person's checks, in the order in which they were answered: the same again, what is known to be right."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session, aliased

from app.labels.withdraw import still_stands
from app.models import Check, Gold, Label
from app.quality.gold.pausing import NEAR, is_right


class Checked(NamedTuple):
    user_id: int
    gold: bool  # else a repeat
    right: bool


def checked(session: Session, project_id: int) -> list[Checked]:
    """By the order of the labels; of each the first version, since whoever found out which were checks would correct them, and
    nothing that was taken back.
    """
    again, before = aliased(Label), aliased(Label)

    def first_of(label: type[Label], task_id: Any) -> ColumnElement[bool]:
        return and_(label.task_id == task_id, label.annotator_id == Check.annotator_id, label.version == 1, still_stands(label))

    rows = session.execute(
        select(again, Gold, before)
        .select_from(Check)
        .join(again, first_of(again, Check.task_id))
        .outerjoin(Gold, Gold.id == Check.gold_id)
        .outerjoin(before, first_of(before, Check.repeats_id))
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
