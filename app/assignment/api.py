"""Languages and skills of people over the API."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import Field

from app.assignment import people
from app.database.engine import WriteDb
from app.models import Membership
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Body, Line, Reply
from app.web.security import Caller

router = APIRouter(tags=["people"])

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
_NOT_MEMBER: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "Not a member of the project"}}


class AssignmentIn(Body):
    """What is left out stays as it is."""

    languages: list[Line] | None = Field(None, max_length=50, description="Tags of BCP 47 in which they are asked; none: in all.")
    skills: list[Line] | None = Field(None, max_length=50, description="Prompts that need another are not for them.")


class OwnLanguagesIn(Body):
    languages: list[Line] = Field(max_length=50, description="Tags of BCP 47 in which you are asked; none: in all.")


class AssignmentReply(Reply):
    languages: list[str]
    skills: list[str]


@router.put("/projects/{slug}/people/{id}/assignment", responses=_NOT_MEMBER, summary="A member's languages and skills")
def assign(session: WriteDb, caller: Caller, project_id: CurrentProjectId, user_id: Id, body: AssignmentIn) -> AssignmentReply:
    given = body.model_dump()
    return _reply(people.set_assignment(session, project_id, user_id, by=caller.user_id, **given))


@router.put("/projects/{slug}/languages", responses=_NOT_MEMBER, summary="The languages in which you are asked")
def say_languages(session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: OwnLanguagesIn) -> AssignmentReply:
    return _reply(people.set_assignment(session, project_id, caller.user_id, by=caller.user_id, languages=body.languages))


def _reply(member: Membership) -> AssignmentReply:
    return AssignmentReply.model_validate(member)
