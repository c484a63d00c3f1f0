"""The guidelines over the API. They are written by `PATCH /projects/{slug}`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.guidelines.service import Change, change_between, guideline, note_seen, untold_change, versions
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, Body, Id, Page, Reply
from app.web.security import Caller

router = APIRouter(tags=["guidelines"])


class PieceReply(Reply):
    kind: str = Field(description="same, gone or new")
    text: str


class ChangeReply(Reply):
    since: int
    version: int
    lines: list[list[PieceReply]] = Field(description="changed lines, with neighbours; an empty one is a gap")
    text: str = Field(description="the same as plain text, as `diff -u` writes it; empty where nothing changed")


class GuidelinesReply(Reply):
    version: int
    text: str = Field(description="Markdown")
    created_at: datetime
    change: ChangeReply | None = Field(description="what the caller has not been told about yet")


class VersionReply(Reply):
    version: int
    created_at: datetime
    author: str | None


class SeenIn(Body):
    version: Id


@router.get("/projects/{slug}/guidelines", summary="The guidelines in force or an earlier version")
def show_guidelines(
    session: Db, caller: Caller, project: CurrentProject, version: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None
) -> GuidelinesReply:
    found = guideline(session, project, version)
    change = untold_change(session, project, caller.user_id)
    return GuidelinesReply(
        version=found.version, text=found.text, created_at=found.created_at, change=_change(change) if change else None
    )


@router.get("/projects/{slug}/guidelines/versions", summary="Every version, newest first")
def list_versions(session: Db, project: CurrentProject) -> Page[VersionReply]:
    return Page(items=[VersionReply.model_validate(version) for version in versions(session, project.id)])


@router.get("/projects/{slug}/guidelines/changes", summary="What changed between two versions")
def show_change(
    session: Db,
    project: CurrentProject,
    since: Annotated[int, Query(ge=1, le=MAX_ID, description="the earlier version")],
    version: Annotated[int | None, Query(ge=1, le=MAX_ID, description="the later one; by default the one in force")] = None,
) -> ChangeReply:
    return _change(change_between(session, project, since, version or project.guideline_version))


@router.post("/projects/{slug}/guidelines/seen", status_code=204, summary="Do not tell the caller about this version again")
def dismiss_change(session: WriteDb, caller: Caller, project: CurrentProject, body: SeenIn) -> Response:
    note_seen(session, project, caller.user_id, body.version)
    return Response(status_code=204)


def _change(change: Change) -> ChangeReply:
    lines = [[PieceReply.model_validate(piece) for piece in line.pieces] for line in change.lines]
    return ChangeReply(since=change.since, version=change.version, lines=lines, text=change.text)
