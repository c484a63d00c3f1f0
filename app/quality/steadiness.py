"""How often one person said the same when a question came back, for themselves to see.

It tells nothing of a day before that has passed, and nothing of few: else the figure would say at once which question it was. The
first verdict counts, unless it was taken back: a later one may have been given in that knowledge.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session, aliased

from app.labels.disputed import said
from app.labels.withdraw import still_stands
from app.models import Check, Label, last_midnight
from app.quality.measures.figure import Figure, share

NEAR: Final = 1  # ratings so far apart are alike
TOLD_OF: Final = 10  # that came back, at least


def steadiness(session: Session, project_id: int, user_id: int) -> Figure | None:
    """None while TOLD_OF questions have not come back to them."""
    before, again = aliased(Label), aliased(Label)

    def first_of(label: type[Label], task_id: Any) -> ColumnElement[bool]:
        return and_(label.task_id == task_id, label.annotator_id == user_id, label.version == 1, still_stands(label))

    rows = session.execute(
        select(said(before), said(again), again.kind)
        .select_from(Check)
        .join(before, first_of(before, Check.repeats_id))
        .join(again, first_of(again, Check.task_id))
        .where(Check.project_id == project_id, Check.annotator_id == user_id, again.created_at < last_midnight())
    ).all()
    alike = [one == other if kind == "comparison" else abs(one - other) <= NEAR for one, other, kind in rows]
    return share(sum(alike), len(alike)) if len(alike) >= TOLD_OF else None
