"""Prompts over the API."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.database.engine import Db, WriteDb, get_engine
from app.database.slices import beside_requests
from app.models import Prompt
from app.prompts import importers, search, service
from app.prompts.bodies import ImportProblem, ImportReply, refused
from app.prompts.clusters.service import prompts_in
from app.prompts.conversations import MAX_EXTERNAL_ID, ROLES, checked_conversation
from app.prompts.file_formats import CONTENT_TYPES, format_sent
from app.prompts.lengths import told_of_import
from app.prompts.search import Answered, Near, PromptFilter
from app.prompts.service import BadLine, PromptRow
from app.settings import Settings
from app.web.gate import CurrentProject, CurrentProjectId
from app.web.json_types import MAX_ID, Body, Id, Limit, Line, Page, Reply, Text, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["prompts"])

PromptId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
ClusterKey = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,17}\.[1-9][0-9]{0,2}$")]

_PROMPT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Besides these, `prompt`, Alpaca's `instruction` and `input`, and ShareGPT's `conversations` are read. Other "
    "keys are kept with the prompt as `extra`.",
    "properties": {
        "text": {"type": "string", "description": "A prompt of one message, the user's."},
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"role": {"enum": list(ROLES)}, "content": {"type": "string"}},
            },
        },
        "external_id": {"type": "string", "maxLength": MAX_EXTERNAL_ID},
        "language": {"type": "string", "description": "A tag of BCP 47. Whoever has said other languages is not asked about it."},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "To find it by."},
        "skills": {"type": "array", "items": {"type": "string"}, "description": "Whoever lacks one is not asked about it."},
    },
}
_ITEMS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {"type": "array", "maxItems": importers.MAX_LINES, "items": _PROMPT_SCHEMA}},
}
_IMPORT_BODY: dict[str, Any] = {
    "required": True,
    "content": {kind: {"schema": _ITEMS_SCHEMA if kind == "application/json" else {"type": "string"}} for kind in CONTENT_TYPES},
}


class PromptReply(Reply):
    id: int
    messages: list[dict[str, str]]
    split: str
    external_id: str | None
    extra: dict[str, Any]
    language: str | None
    tags: list[str]
    skills: list[str]
    created_at: datetime
    archived_at: datetime | None
    twin_id: int | None = Field(description="An earlier prompt that says nearly the same.")


class MessageIn(Body):
    role: Literal["system", "user", "assistant"]
    content: Text


class PromptIn(Body):
    messages: list[MessageIn] = Field(min_length=1, max_length=100)


class ArchiveIn(Body):
    ids: list[Id] = Field(min_length=1, max_length=10_000)
    restore: bool = Field(False, description="Use them again, where they were put away.")


class ArchivedReply(Reply):
    changed: int


async def read_rows(request: Request) -> list[PromptRow | BadLine]:
    """The request's prompts, read before the transaction begins, so that a slow sender holds up no writer."""
    data = await request.body()
    format = format_sent(request.headers.get("content-type", ""))
    return await run_in_threadpool(importers.read_upload, data, format)


@router.post(
    "/projects/{slug}/prompts",
    response_model=ImportReply,
    max_body_size=importers.MAX_BYTES,
    openapi_extra={"requestBody": _IMPORT_BODY},
    responses={
        422: {
            "description": "At least one line is no prompt. Nothing was imported; `rejected` names every such line.",
            "model": ImportProblem,
        }
    },
)
async def import_prompts(
    request: Request,
    rows: Annotated[list[PromptRow | BadLine], Depends(read_rows)],
    project: CurrentProject,
    caller: Caller,
    skip_bad_lines: Annotated[bool, Query(description="Import the good lines even where others are bad.")] = False,
) -> Response | ImportReply:
    """Adds the prompts the project does not have yet. With one bad line nothing is imported, unless you skip bad lines."""
    take = partial(service.import_prompts, get_engine(request), project.id, rows)
    report = await beside_requests(partial(take, by=caller.user_id, skip_bad_lines=skip_bad_lines), len(rows))
    reply = ImportReply.model_validate(report)
    if report.rejected and not skip_bad_lines:
        return refused(report)
    too_long = await told_of_import(get_engine(request), project.id, rows, report.created)
    return reply.model_copy(update={"warning": too_long or None})


@router.get("/projects/{slug}/prompts")
def list_prompts(
    request: Request,
    session: Db,
    project: CurrentProject,
    split: service.Split | None = None,
    archived: bool = False,
    text: Line = "",
    work: Annotated[Answered, Query(description="with or without answers, with or without labels")] = "",
    external_id: Line = "",
    language: Annotated[Line, Query(description="`-` for prompts without one")] = "",
    tag: Line = "",
    skill: Line = "",
    near: Annotated[Near, Query(description="`twin`: nearly the same as another; `leak`: where that is in the other split")] = "",
    cluster: Annotated[ClusterKey | None, Query(description="`key` of a cluster of the map of what the prompts cover")] = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Page[PromptReply]:
    settings: Settings = request.app.state.settings
    among = None if cluster is None else prompts_in(session, project.id, settings.runs, cluster)
    asked = {"text": text, "external_id": external_id, "language": language, "tag": tag, "skill": skill}
    wanted = PromptFilter(split=split, archived=archived, work=work, near=near, among=among, **asked)
    found = search.find_prompts(session, project.id, wanted, before=cursor_id(cursor), limit=limit + 1)
    items = [PromptReply.model_validate(prompt) for prompt in found[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


@router.post("/projects/{slug}/prompts/archive", summary="Put several prompts away, or use them again")
async def archive_prompts(request: Request, project: CurrentProject, caller: Caller, body: ArchiveIn) -> ArchivedReply:
    chosen = (project.id, list(body.ids), caller.user_id)
    deed = partial(search.put_many_away, get_engine(request), *chosen, back=body.restore)
    changed = await beside_requests(deed, len(body.ids))
    return ArchivedReply(changed=changed)


@router.get("/prompts/{id}")
def show_prompt(session: Db, prompt_id: PromptId) -> PromptReply:
    return _reply(service.get_prompt(session, prompt_id))


@router.put("/prompts/{id}", responses={409: {"description": "It was answered, or the project has that prompt already"}})
def edit_prompt(session: WriteDb, caller: Caller, prompt_id: PromptId, body: PromptIn) -> PromptReply:
    """Another text for a prompt that no model answered yet."""
    messages = checked_conversation([message.model_dump() for message in body.messages])
    return _reply(service.edit_prompt(session, prompt_id, messages, caller.user_id))


@router.post("/prompts/{id}/archive")
def archive_prompt(session: WriteDb, project_id: CurrentProjectId, caller: Caller, prompt_id: PromptId) -> PromptReply:
    """Put a prompt away: no new answers are written for it."""
    search.put_away(session, project_id, [prompt_id], caller.user_id)
    return _reply(service.get_prompt(session, prompt_id))


@router.post("/prompts/{id}/restore")
def restore_prompt(session: WriteDb, project_id: CurrentProjectId, caller: Caller, prompt_id: PromptId) -> PromptReply:
    search.put_away(session, project_id, [prompt_id], caller.user_id, back=True)
    return _reply(service.get_prompt(session, prompt_id))


def _reply(prompt: Prompt) -> PromptReply:
    return PromptReply.model_validate(prompt)
