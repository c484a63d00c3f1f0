"""Marks of prompts over the API."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from pydantic import Field

from app.database.engine import get_engine
from app.database.slices import beside_requests
from app.prompts.marks import service
from app.web.gate import CurrentProject
from app.web.json_types import Body, Id, Line, Reply
from app.web.security import Caller

router = APIRouter(tags=["prompts"])


class MarksIn(Body):
    """What is left out stays as it is."""

    ids: list[Id] = Field(min_length=1, max_length=10_000)
    language: Line | None = Field(None, description="A tag of BCP 47; an empty text takes it away.")
    add_tags: list[Line] | None = None
    remove_tags: list[Line] | None = None
    add_skills: list[Line] | None = Field(None, description="Whoever lacks one of a prompt's skills is not asked about it.")
    remove_skills: list[Line] | None = None


class MarkedReply(Reply):
    changed: int


@router.post("/projects/{slug}/prompts/marks", summary="Give several prompts a language, tags and skills")
async def mark_prompts(request: Request, project: CurrentProject, caller: Caller, body: MarksIn) -> MarkedReply:
    change = service.change_of(body.model_dump(exclude={"ids"}))
    deed = partial(service.mark, get_engine(request), project.id, list(body.ids), change, caller.user_id)
    return MarkedReply(changed=await beside_requests(deed, len(body.ids)))
