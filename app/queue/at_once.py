"""What is asked and answered at once: made with its one seat, held by whoever saw the answers. No queue has it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, update

from app.models import NEXT_PLACE, Seat, Task
from app.queue.claim import second_stands_left


def ask_at_once(
    connection: Connection, project_id: int, prompt_id: int, shown: tuple[int, int], annotator_id: int, *, since: datetime
) -> int:
    """The task about the answers that this person has seen left and right `since` then; its id.

    Which of them is the first is settled so that the queue's own coin puts them where they stood.
    """
    left, right = shown
    asked = {"project_id": project_id, "prompt_id": prompt_id, "kind": "comparison", "served_reason": "chat"}
    made = insert(Task).values(**asked, first_generation_id=left, second_generation_id=right, created_at=since).returning(Task.id)
    task_id = connection.execute(made).scalar_one()
    swapped = second_stands_left(task_id, annotator_id)
    if swapped:
        turned = {"first_generation_id": right, "second_generation_id": left}
        connection.execute(update(Task).where(Task.id == task_id).values(turned).execution_options(synchronize_session=False))
    held = {"state": "leased", "annotator_id": annotator_id, "swapped": swapped, "claimed_at": since, "lease_until": since}
    connection.execute(insert(Seat).values(project_id=project_id, task_id=task_id, number=1, place=NEXT_PLACE, **held))
    return task_id


def rate_at_once(
    connection: Connection, project_id: int, prompt_id: int, generation_id: int, annotator_id: int, *, since: datetime
) -> int:
    """The rating of an answer that this person has met in use; its id."""
    asked = {"project_id": project_id, "prompt_id": prompt_id, "kind": "rating", "served_reason": "feedback"}
    made = insert(Task).values(**asked, first_generation_id=generation_id, created_at=since).returning(Task.id)
    task_id = connection.execute(made).scalar_one()
    held = {"state": "leased", "annotator_id": annotator_id, "claimed_at": since, "lease_until": since}
    connection.execute(insert(Seat).values(project_id=project_id, task_id=task_id, number=1, place=NEXT_PLACE, **held))
    return task_id
