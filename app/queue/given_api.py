"""Making tasks of given answers over the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.database.engine import WriteDb
from app.models import Project
from app.queue import given
from app.web.gate import CurrentProjectId
from app.web.json_types import Body, Id, Reply
from app.web.security import Caller

router = APIRouter(tags=["tasks"])


class NewTask(Body):
    first: Id = Field(description="A generation.")
    second: Id | None = Field(None, description="Another one to the same prompt; without one the first is rated.")


class NewTasks(Body):
    items: Annotated[list[NewTask], Field(min_length=1, max_length=500)]


class TasksMade(Reply):
    task_ids: list[int] = Field(description="In the order in which they are asked, which is random.")


@router.post("/projects/{slug}/tasks", status_code=201)
def make_tasks(session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: NewTasks) -> TasksMade:
    """Have people compare or rate these answers, whoever wrote them. All are made, or none."""
    project = session.get_one(Project, project_id)
    pairs = [(one.first, one.second) for one in body.items]
    return TasksMade(task_ids=given.ask_about(session, project, pairs, caller.user_id))
