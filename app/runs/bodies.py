"""What the calls of runs, checkpoints and generations take and give: their JSON, ids and cursors in paths, a page of a list."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from fastapi import Path as InPath
from pydantic import Field
from sqlalchemy.orm import Session

from app.models import Checkpoint, Generation, Project, Prompt, Run
from app.runs import checkpoints, estimates, run_files
from app.settings import Settings
from app.web.json_types import MAX_ID, Body, CodedMessage, JsonObject, Page, Reply, Told, coded

PathId = Annotated[int, InPath(ge=1, le=MAX_ID)]
Cursor = Annotated[str | None, Query(max_length=40)]


async def data_folder(request: Request) -> Path:
    settings: Settings = request.app.state.settings
    return settings.data.resolve()


Data = Annotated[Path, Depends(data_folder)]

Kind = Literal["sample", "ask", "reward", "ppo", "preference", "sft"]


class RunReply(Reply):
    id: int
    round_id: int | None
    kind: Kind
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    step: int
    total: int
    eta_s: float | None
    starts_in_s: float | None = Field(None, description="While it waits: until the worker should take it, where it can be said.")
    message: Told = Field(description="What it is doing, or why it ended, in the language of the request.")
    coded_message: CodedMessage | None = coded("message")
    config: dict[str, Any]
    inputs: dict[str, Any]
    result: dict[str, Any] = Field(description="Its figures. `reason` and `gate_reason` are codes with arguments.")
    label_digest: str | None
    label_count: int | None
    attempts: int
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    retry_of_id: int | None = Field(description="The failed run that this one does again.")
    checkpoint_id: int | None = Field(None, description="What it made, once it is done.")


class CheckpointSummary(Reply):
    id: int
    kind: Literal["policy", "reward"]
    name: Told
    coded_name: CodedMessage = coded("name")
    parent_id: int | None
    run_id: int | None
    digest: str | None = Field(description="SHA-256 of its manifest, which holds the SHA-256 of each file.")
    label_digest: str | None
    metrics: dict[str, Any]
    created_at: datetime
    promoted_at: datetime | None
    pruned_at: datetime | None = Field(description="When its weights were removed to free the disk; null while they are there.")


class CheckpointReply(CheckpointSummary):
    lineage: list[int] = Field(description="Its ancestors' ids, the nearest first.")
    is_policy: bool = Field(description="Whether it is the project's promoted policy.")
    manifest: dict[str, Any] | None = Field(description="None for a model that is not a folder of ours.")


class NewRun(Body):
    kind: Kind
    config: JsonObject = Field(
        default_factory=dict,
        description="Settings, and what it works on: sample takes checkpoint, split (train, holdout, all), prompt_ids and, where "
        "best_of is more than 1, reward (by default the newest that passed its test); "
        "ask takes contender (a model outside), split and prompt_ids; "
        "reward takes policy; ppo takes reward and start; preference takes start; sft takes text (the name "
        "of one), rewrites (true: what annotators wrote instead) and base.",
    )


class MetricRow(Reply):
    step: int
    time: str
    values: dict[str, float | None]


class MetricsReply(Reply):
    names: list[str]
    items: list[MetricRow]


class GenerationReply(Reply):
    id: int
    prompt_id: int
    split: Literal["train", "holdout"]
    messages: list[dict[str, str]]
    text: str
    contender_id: int
    token_ids: list[int] | None = Field(description="Null where none of this project's models wrote it, as the two that follow.")
    checkpoint_id: int | None
    run_id: int | None = Field(description="Null where it was brought in.")
    number: int
    settings: dict[str, Any]
    seed: int | None
    finish_reason: Literal["eos", "length"]
    created_at: datetime


# Rows to replies


def run_reply(session: Session, run: Run) -> RunReply:
    return run_replies(session, [run])[0]


def run_replies(session: Session, found: list[Run]) -> list[RunReply]:
    made = checkpoints.made_by_runs(session, [run.id for run in found])
    waits = estimates.waits(session, found)
    return [
        RunReply.model_validate(run).model_copy(
            update={"checkpoint_id": made.get(run.id), "starts_in_s": waits[run.id].seconds if run.id in waits else None}
        )
        for run in found
    ]


def checkpoint_reply(session: Session, data: Path, checkpoint: Checkpoint) -> CheckpointReply:
    found = run_files.checkpoint_folder(data, checkpoint.source)
    project = session.get_one(Project, checkpoint.project_id)
    return CheckpointReply(
        **CheckpointSummary.model_validate(checkpoint).model_dump(),
        lineage=[one.id for one in checkpoints.lineage(session, checkpoint)[1:]],
        is_policy=project.policy_id == checkpoint.id,
        manifest=run_files.manifest(found) if found and (found / "manifest.json").exists() else None,
    )


def generation_reply(generation: Generation, prompt: Prompt) -> GenerationReply:
    fields = {name: getattr(generation, name) for name in GenerationReply.model_fields if name not in ("split", "messages")}
    return GenerationReply(**fields, split=prompt.split, messages=prompt.messages)


def page_of(items: list[Any], limit: int) -> Page[Any]:
    """The first `limit` of the items asked for, one more than that; where the next page begins, if there is one."""
    return Page(items=items[:limit], next_cursor=str(items[limit - 1].id) if len(items) > limit else None)
