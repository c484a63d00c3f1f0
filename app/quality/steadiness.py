"""How often one person said the same when a question came back, for themselves to see."""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, select
from sqlalchemy.orm import Session, aliased

from app.labels.disputed import said
from app.models import Check, Label
from app.quality.measures.figure import Figure, share

NEAR: Final = 1  # ratings so far apart are alike


def steadiness(session: Session, project_id: int, user_id: int) -> Figure | None:
    """None while nothing has come back to them."""
    before, again = aliased(Label), aliased(Label)
    rows = session.execute(
        select(said(before), said(again), again.kind)
        .select_from(Check)
        .join(before, and_(before.task_id == Check.repeats_id, before.annotator_id == user_id, before.current))
        .join(again, and_(again.task_id == Check.task_id, again.annotator_id == user_id, again.current))
        .where(Check.project_id == project_id, Check.annotator_id == user_id)
    ).all()
    alike = [one == other if kind == "comparison" else abs(one - other) <= NEAR for one, other, kind in rows]
    return share(sum(alike), len(alike)) if alike else None
