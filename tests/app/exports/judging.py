"""Labels for export tests: each call judges a task of its own, or one that is given."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.labels import disputed
from app.models import Label, Project, RankedAnswer, Task, utc_now
from tests.app import factories

_numbers = count(1)


def judge(session: Session, project: Project, annotator_id: int, task: Task | None = None, **values: Any) -> Label:
    """A label; the answers stand as the task has them unless `swapped`. A rating has `overall`, a ranking `order`."""
    kind = "ranking" if "order" in values else "rating" if "overall" in values else "comparison"
    task = task or factories.make_task(session, project, kind)
    first, second = task.first_generation_id, task.second_generation_id
    if kind == "ranking":
        answers = select(RankedAnswer.generation_id).where(RankedAnswer.task_id == task.id).order_by(RankedAnswer.number)
        shown = list(session.scalars(answers))
        values["ranking"] = {"shown": shown, "order": values.pop("order"), "last": values.pop("last", []), "all_bad": False}
    if values.pop("swapped", False):
        assert second is not None
        first, second = second, first
    supersedes: Label | None = values.pop("supersedes", None)
    filled = {
        "criteria": {},
        "flags": {},
        "comment": "",
        "guideline_version": 1,
        "interface_version": "test",
        "served_reason": "random",
        "created_at": utc_now(),
        "version": supersedes.version + 1 if supersedes else 1,
        **values,
    }
    label = Label(
        project_id=project.id,
        task_id=task.id,
        annotator_id=annotator_id,
        kind=kind,
        supersedes_id=supersedes.id if supersedes else None,
        client_id=str(uuid4()),
        payload_hash=f"{next(_numbers):064}",
        left_generation_id=first,
        right_generation_id=second,
        **filled,
    )
    if supersedes:
        supersedes.current = False
    session.add(label)
    session.flush()
    disputed.note(session.connection(), task.id)
    return label
