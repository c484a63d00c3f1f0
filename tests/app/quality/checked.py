"""Known answers and repeats for tests, answered."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.models import Check, Gold, Label, Project
from tests.app import factories
from tests.app.exports.judging import judge


def make_gold(session: Session, project: Project, choice: str = "first") -> Gold:
    """On answers of their own, of which no task asks."""
    assert project.policy_id is not None
    prompt = factories.make_prompt(session, project.id)
    first, second = (factories.make_generation(session, prompt, project.policy_id) for _ in range(2))
    gold = Gold(
        project_id=project.id,
        prompt_id=prompt.id,
        first_generation_id=first.id,
        second_generation_id=second.id,
        choice=choice,
    )
    session.add(gold)
    session.flush()
    return gold


def answer_gold(session: Session, project: Project, user_id: int, *, right: bool) -> Label:
    gold = make_gold(session, project)
    task = factories.make_task(session, project, purpose="gold", served_reason="gold")
    task.prompt_id, task.first_generation_id = gold.prompt_id, gold.first_generation_id
    task.second_generation_id = gold.second_generation_id
    session.add(Check(project_id=project.id, task_id=task.id, annotator_id=user_id, gold_id=gold.id))
    session.flush()
    choice = "left" if right else "right"
    return judge(session, project, user_id, task, choice=choice, served_reason="gold", trains=False)


def answer_again(session: Session, project: Project, user_id: int, before: Label, choice: str, **values: Any) -> Label:
    task = factories.make_task(session, project, purpose="repeat", served_reason="repeat")
    task.first_generation_id, task.second_generation_id = before.left_generation_id, before.right_generation_id
    session.add(Check(project_id=project.id, task_id=task.id, annotator_id=user_id, repeats_id=before.task_id))
    session.flush()
    return judge(session, project, user_id, task, choice=choice, served_reason="repeat", trains=False, **values)
