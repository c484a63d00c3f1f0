"""Bringing in answers that were written elsewhere over the API."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.contenders import answers
from app.contenders.answers import AnswerRow, read_answers
from app.contenders.bringing_in import import_answers
from app.database.engine import get_engine
from app.database.slices import beside_requests
from app.prompts import importers
from app.prompts.bodies import ImportProblem, RejectedLine, refused
from app.prompts.file_formats import CONTENT_TYPES, format_sent
from app.prompts.service import BadLine
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, Reply
from app.web.security import Caller

router = APIRouter(tags=["evaluations"])

_ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "One of `prompt`, `messages` and `prompt_id` says what was answered; a prompt that the project has not "
    "becomes one. UltraFeedback's, Chatbot Arena's and ShareGPT's items are read as they are published; other keys are not kept.",
    "properties": {
        "prompt": {"description": 'A text, a list of messages, or `{"text": ...}` or `{"messages": ...}`.'},
        "messages": {"type": "array", "items": {"type": "object"}},
        "prompt_id": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
        "text": {"type": "string", "maxLength": answers.MAX_CHARACTERS},
        "model": {"type": "string", "maxLength": answers.MAX_NAME, "description": "Who wrote it: the contender's name."},
    },
}
_ITEMS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["items"],
    "properties": {"items": {"type": "array", "maxItems": importers.MAX_LINES, "items": _ANSWER_SCHEMA}},
}
_IMPORT_BODY: dict[str, Any] = {
    "required": True,
    "content": {kind: {"schema": _ITEMS_SCHEMA if kind == "application/json" else {"type": "string"}} for kind in CONTENT_TYPES},
}


class AnswersReply(Reply):
    created: int
    duplicates: int
    rejected: list[RejectedLine]
    prompts: int = Field(description="How many of the prompts the project had not.")
    left_out: list[str] = Field(description="Names of keys whose values were too long to keep beside the prompts.")


async def read_rows(request: Request) -> list[AnswerRow | BadLine]:
    """The request's answers, read before the transaction begins, so that a slow sender holds up no writer."""
    data = await request.body()
    format = format_sent(request.headers.get("content-type", ""))
    return await run_in_threadpool(read_answers, data, format)


@router.post(
    "/projects/{slug}/generations",
    response_model=AnswersReply,
    max_body_size=importers.MAX_BYTES,
    openapi_extra={"requestBody": _IMPORT_BODY},
    responses={
        422: {
            "description": "At least one line is no answer. Nothing was imported; `rejected` names every such line.",
            "model": ImportProblem,
        }
    },
)
async def bring_in(
    request: Request,
    rows: Annotated[list[AnswerRow | BadLine], Depends(read_rows)],
    project: CurrentProject,
    caller: Caller,
    skip_bad_lines: Annotated[bool, Query(description="Import the good lines even where others are bad.")] = False,
) -> Response | AnswersReply:
    """Adds answers that other models or people wrote, each to its prompt and under its model's name. They can then be compared.

    With one bad line nothing is imported, unless you skip bad lines.
    """
    take = partial(import_answers, get_engine(request), project.id, rows, by=caller.user_id, skip_bad_lines=skip_bad_lines)
    report = await beside_requests(take, len(rows))
    if report.rejected and not skip_bad_lines:
        return refused(report)
    return AnswersReply.model_validate(report)
