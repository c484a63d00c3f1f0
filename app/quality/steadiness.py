"""How often one person said the same when a question came back, for themselves to see.

It tells nothing of a day before that has passed, and nothing of few: else the figure would say at once which question it was. The
first verdict on what came back counts, unless it was taken back: a later one may have been given in that knowledge.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, exists, select
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

    rows = session.execute(
        select(said(before), said(again), again.kind)
        .select_from(Check)
        .join(before, said_before(before))
        .join(again, said_to_check(again))
        .where(Check.project_id == project_id, Check.annotator_id == user_id, again.created_at < last_midnight())
    ).all()
    alike = [one == other if kind == "comparison" else abs(one - other) <= NEAR for one, other, kind in rows]
    return share(sum(alike), len(alike)) if len(alike) >= TOLD_OF else None


def said_before(label: type[Label]) -> ColumnElement[bool]:
    """Of a check that asks something again: what its person said of it, as it stood when the check was made. What they put right
    by then was a slip of the hand; what they changed afterwards may have been in that knowledge.
    """
    later = aliased(Label)
    changed = exists().where(later.supersedes_id == label.id, later.created_at < Check.created_at)
    theirs = (label.task_id == Check.repeats_id, label.annotator_id == Check.annotator_id)
    return and_(*theirs, label.created_at < Check.created_at, ~label.withdrawn, ~changed, still_stands(label))


def said_to_check(label: type[Label]) -> ColumnElement[bool]:
    """Of a check: its person's first verdict, since whoever found out which were checks would correct them."""
    theirs = (label.task_id == Check.task_id, label.annotator_id == Check.annotator_id)
    return and_(*theirs, label.version == 1, still_stands(label))
