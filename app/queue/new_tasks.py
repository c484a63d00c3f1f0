"""New tasks for training as rows: what each asks about, in the order that was drawn, and its seats.

Knows nothing of who asks for them, and why; the project is held by whoever does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.models import NEXT_PLACE, Project, RankedAnswer, Seat, Task, utc_now

KINDS: Final = {1: "rating", 2: "comparison"}  # by how many answers it is about; of more it is a ranking

Asked = tuple[int, Sequence[int]]  # a prompt, and generations: one is rated, two are compared, more are put in order


def insert_tasks(session: Session, project: Project, asked: Sequence[Asked], *, ahead: int = 0) -> list[int]:
    """Their ids, in the same order. Behind all that waits, `ahead` added to the places of their seats."""
    now = utc_now()
    tasks = [
        {
            "project_id": project.id,
            "prompt_id": prompt_id,
            "kind": KINDS.get(len(answers), "ranking"),
            "first_generation_id": answers[0],
            "second_generation_id": answers[1] if len(answers) == 2 else None,
            "created_at": now,
        }
        for prompt_id, answers in asked
    ]
    ids = list(session.scalars(insert(Task).returning(Task.id, sort_by_parameter_order=True), tasks))
    ranked = [
        {"task_id": task_id, "number": number, "generation_id": answer}
        for task_id, (_, answers) in zip(ids, asked, strict=True)
        if len(answers) > 2
        for number, answer in enumerate(answers, start=1)
    ]
    if ranked:
        session.connection().execute(insert(RankedAnswer), ranked)
    seats = [
        {"project_id": project.id, "task_id": task_id, "number": number}
        for task_id in ids
        for number in range(1, project.overlap + 1)
    ]
    session.connection().execute(insert(Seat).values(place=NEXT_PLACE + ahead), seats)
    return ids
