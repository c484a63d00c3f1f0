"""Exports over the API."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response, StreamingResponse

from app.database.engine import Db, get_engine
from app.exports import service
from app.exports.rows import Format
from app.exports.service import ExportQuery
from app.prompts.service import Split
from app.web.gate import CurrentProject

router = APIRouter(tags=["exports"])

_Blank = BeforeValidator(lambda value: None if value == "" else value)  # a form sends its empty fields too
_Time = Annotated[str | None, Query(max_length=40, description="A date, or an RFC 3339 time with its zone.")]


def export_query(
    format: Format = "preference",
    as_: Annotated[
        Literal["jsonl", "csv"], Query(alias="as", description="CSV begins with a byte-order mark, for spreadsheets.")
    ] = "jsonl",
    since: _Time = None,
    until: _Time = None,
    split: Annotated[Split | None, _Blank] = None,
    min_agreement: Annotated[
        float, Query(ge=0, le=1, allow_inf_nan=False, description="Share of labels that give a task's most frequent verdict.")
    ] = 0.0,
) -> ExportQuery:
    return ExportQuery(
        format=format,
        as_=as_,
        since=service.read_time(since, "since"),
        until=service.read_time(until, "until"),
        split=split,
        min_agreement=min_agreement,
    )


Asked = Annotated[ExportQuery, Depends(export_query)]


@router.get(
    "/projects/{slug}/export",
    response_class=Response,
    responses={
        200: {
            "content": {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/x-ndjson")},
            "description": "The labels, streamed.",
        },
        304: {"description": "Nothing has changed since the ETag in If-None-Match."},
    },
)
def export_labels(request: Request, project: CurrentProject, session: Db, query: Asked) -> Response:
    """The project's labels as training data. The same ETag means the same bytes.

    `preference` is read by TRL's RewardTrainer and DPOTrainer as it is; `kto` and `sft` by the trainers of those names. A column
    has one type in every file: nothing is null, a number nobody gave is 0, a text nobody wrote is empty. Without any row,
    JSON Lines are an empty file and CSV is its header.

    `soft_label` (of `preference`, `ratings` and `labels`) is what everybody said of the task: `n` people, and the share of them
    for each answer. Where a reviewer settled what people differ on, their verdict is the task's only row, beside those shares;
    what the others said is in `labels`, `overruled`.
    """
    return export_response(request, service.prepare_export(session, project, query))


def export_response(request: Request, export: service.Export) -> Response:
    """304 where the reader has these bytes already, else a stream that outlives the request's own transaction."""
    headers = {"ETag": export.etag, "Cache-Control": "private, no-cache"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if export.etag in known:
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{export.filename}"'
    return StreamingResponse(service.stream_export(get_engine(request), export), media_type=export.media_type, headers=headers)
