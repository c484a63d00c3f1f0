"""Making tasks of given answers over the API."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field, model_validator

from app.database.engine import WriteDb
from app.language.languages import _
from app.models import Project
from app.queue import given
from app.web.gate import CurrentProjectId
from app.web.json_types import Body, Id, Reply
from app.web.security import Caller

router = APIRouter(tags=["tasks"])


Ranked = Annotated[list[Id], Field(min_length=3, max_length=6)]


class NewTask(Body):
    first: Id | None = Field(None, description="A generation.")
    second: Id | None = Field(None, description="Another one to the same prompt; without one the first is rated.")
    answers: Ranked | None = Field(None, description="Three to six generations to one prompt, to be ranked.")

    @model_validator(mode="after")
    def one_or_the_other(self) -> Self:
        if (self.first is None) == (self.answers is None) or (self.second is not None and self.first is None):
            raise ValueError(_("Give `first`, and `second` to have two compared, or `answers` to have them ranked."))
        return self

    @property
    def asked(self) -> given.Asked:
        if self.answers is not None:
            return tuple(self.answers)
        return tuple(one for one in (self.first, self.second) if one is not None)


class NewTasks(Body):
    items: Annotated[list[NewTask], Field(min_length=1, max_length=500)]


class TasksMade(Reply):
    task_ids: list[int] = Field(description="In the order in which they are asked, which is random.")


@router.post("/projects/{slug}/tasks", status_code=201)
def make_tasks(session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: NewTasks) -> TasksMade:
    """Have people compare, rate or rank these answers, whoever wrote them. All are made, or none."""
    project = session.get_one(Project, project_id)
    return TasksMade(task_ids=given.ask_about(session, project, [one.asked for one in body.items], caller.user_id))
