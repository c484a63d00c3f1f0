"""Runs, the checkpoints they make and what models wrote, over the API. Cancelling a run is in app/rounds/api.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse

from app.database.engine import Db, WriteDb
from app.errors import Archived, Invalid, NotFound
from app.language.languages import _
from app.models import Project
from app.runs import checkpoints, run_files, runs
from app.runs.bodies import (
    CheckpointReply,
    CheckpointSummary,
    Cursor,
    Data,
    GenerationReply,
    MetricRow,
    MetricsReply,
    NewRun,
    PathId,
    RunReply,
    checkpoint_reply,
    generation_reply,
    page_of,
    run_replies,
    run_reply,
)
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Limit, Page, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["runs"])

TEXT_TYPES = ("text/plain", "application/octet-stream")  # the second for programs that know no other for bytes as they are


# Runs


@router.post("/projects/{slug}/runs", status_code=202)
def queue_run(session: WriteDb, caller: Caller, project_id: CurrentProjectId, data: Data, body: NewRun) -> RunReply:
    project = session.get_one(Project, project_id)
    settings, inputs = runs.split_inputs(body.kind, body.config)
    if isinstance(inputs.get("text"), str):
        run_files.text_file(data, project.slug, inputs["text"])
    return run_reply(session, runs.queue_run(session, project, body.kind, settings, inputs, caller.user_id))


@router.get("/projects/{slug}/runs")
def list_runs(
    session: Db, project_id: CurrentProjectId, limit: Annotated[Limit, Query()] = 50, cursor: Cursor = None
) -> Page[RunReply]:
    """The newest first."""
    found = runs.list_runs(session, project_id, cursor_id(cursor), limit + 1)
    return page_of(run_replies(session, found), limit)


@router.get("/runs/{id}")
def show_run(session: Db, id: PathId) -> RunReply:
    return run_reply(session, runs.get_run(session, id))


@router.get("/runs/{id}/metrics")
def show_metrics(
    session: Db,
    data: Data,
    id: PathId,
    name: Annotated[list[str] | None, Query(max_length=50, description="Only these; repeat it for several.")] = None,
    since_step: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> MetricsReply:
    """One row per step, from `since_step` on; at most the last 5,000."""
    runs.get_run(session, id)
    rows = run_files.metric_rows(run_files.run_folder(data / "runs", id), since_step)
    names = run_files.metric_names(rows)
    wanted = [one for one in names if name is None or one in name]
    items = [
        MetricRow(
            step=row["step"],
            time=str(row.get("time", "")),
            values={one: run_files.number(row.get(one)) for one in wanted if one in row},
        )
        for row in rows
    ]
    return MetricsReply(names=names, items=items)


@router.get("/runs/{id}/samples")
def show_samples(session: Db, data: Data, id: PathId) -> list[dict[str, Any]]:
    """The answers a PPO run wrote to its fixed prompts at each update."""
    runs.get_run(session, id)
    return run_files.samples(run_files.run_folder(data / "runs", id))


@router.get("/runs/{id}/log", response_class=PlainTextResponse)
def show_log(session: Db, data: Data, id: PathId) -> str:
    """The last 64 KiB of what the run printed."""
    runs.get_run(session, id)
    return run_files.log_tail(run_files.run_folder(data / "runs", id))


# Checkpoints and what they wrote


@router.get("/projects/{slug}/checkpoints")
def list_checkpoints(
    session: Db, project_id: CurrentProjectId, limit: Annotated[Limit, Query()] = 50, cursor: Cursor = None
) -> Page[CheckpointSummary]:
    """The newest first."""
    found = checkpoints.list_checkpoints(session, project_id, cursor_id(cursor), limit + 1)
    return page_of([CheckpointSummary.model_validate(checkpoint) for checkpoint in found], limit)


@router.get("/checkpoints/{id}")
def show_checkpoint(session: Db, data: Data, id: PathId) -> CheckpointReply:
    return checkpoint_reply(session, data, checkpoints.get_checkpoint(session, id))


@router.get("/checkpoints/{id}/files/{name:path}", response_class=FileResponse)
def download_file(session: Db, data: Data, id: PathId, name: Annotated[str, Path(max_length=300)]) -> FileResponse:
    """A file that the manifest names, or manifest.json itself. Of an adapter, the adapter as it is."""
    checkpoint = checkpoints.get_checkpoint(session, id)
    if name.endswith(run_files.WEIGHTS):
        checkpoints.require_weights(checkpoint)
    found = run_files.checkpoint_folder(data, checkpoint.source)
    if found is None:
        raise NotFound(_("The files of this checkpoint are not on this machine."))
    return _download(found, name)


@router.get("/checkpoints/{id}/export/{name:path}", response_class=FileResponse)
def download_export(session: Db, data: Data, id: PathId, name: Annotated[str, Path(max_length=300)]) -> FileResponse:
    """A file of the checkpoint as plain transformers opens it, once `tastemaker checkpoint export` has written that."""
    checkpoint = checkpoints.get_checkpoint(session, id)
    if checkpoint.run_id is None:
        raise NotFound(_("This model is as it came; nothing was exported from it."))
    checkpoints.require_weights(checkpoint)
    return _download(run_files.export_folder(data / "runs", checkpoint.run_id), name)


@router.get("/projects/{slug}/generations")
def show_generations(
    session: Db,
    caller: Caller,
    project_id: CurrentProjectId,
    checkpoint: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    run: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    split: Literal["train", "holdout"] | None = None,
    limit: Annotated[Limit, Query()] = 50,
    cursor: Cursor = None,
) -> Page[GenerationReply]:
    """In the order in which they were written. Who is no admin sees none to prompts that are judged blind at present."""
    found = checkpoints.list_generations(
        session,
        project_id,
        blind=not (caller.is_owner or caller.role == "admin"),
        checkpoint_id=checkpoint,
        split=split,
        run_id=run,
        after=cursor_id(cursor) or 0,
        limit=limit + 1,
    )
    return page_of([generation_reply(generation, prompt) for generation, prompt in found], limit)


# Texts to train on


async def read_text(request: Request) -> AsyncIterator[bytes]:
    """The body, read before the transaction begins, so that a slow sender holds up no writer."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > run_files.TEXT_BYTES:
            raise Invalid(
                _(
                    "A text has at most %(most)s MiB; put larger ones into the project's folder of texts by hand.",
                    most=run_files.TEXT_BYTES // 2**20,
                )
            )
    yield data


@router.put(
    "/projects/{slug}/texts/{name}",
    status_code=201,
    max_body_size=run_files.TEXT_BYTES,
    openapi_extra={"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string"}} for kind in TEXT_TYPES}}},
)
def put_text(
    session: Db,
    project_id: CurrentProjectId,
    data: Data,
    slug: str,
    name: Annotated[str, Path(max_length=130)],
    body: Annotated[bytes, Depends(read_text)],
) -> dict[str, str]:
    """A text for this project's sft runs: plain text as .txt, conversations as .jsonl. A name can be used once."""
    if session.get_one(Project, project_id).archived_at is not None:  # or deleted, while the text arrived
        raise Archived
    run_files.save_text(data, slug, name, body)
    return {"text": name}


def _download(at: FilePath, name: str) -> FileResponse:
    path = run_files.checkpoint_file(at, name)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)
