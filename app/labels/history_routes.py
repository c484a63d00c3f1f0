"""Pages: a project's labels, searched; one verdict with its history. Annotators see their own."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.database.engine import Db
from app.guidelines.starting_point import told
from app.labels import history
from app.labels.api import LabelId, own_only
from app.models.criteria import names
from app.web.gate import CurrentProject
from app.web.json_types import Line, cursor_id
from app.web.pages import render
from app.web.security import Caller

router = APIRouter()

PAGE_ROWS = 50


@router.get("/projects/{slug}/labels")
def search(
    request: Request,
    project: CurrentProject,
    caller: Caller,
    session: Db,
    annotator: Annotated[str, Query(max_length=19, pattern=r"^\d*$")] = "",
    verdict: Literal["", "left", "right", "tie", "both_bad", "1", "2", "3", "4", "5"] = "",
    kind: Literal["", "comparison", "rating"] = "",
    text: Line = "",
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    mine = own_only(caller)
    wanted = history.LabelFilter(
        annotator_id=mine or (int(annotator) if annotator else None),
        kind=kind or None,
        choice=verdict if verdict and not verdict.isdigit() else None,
        overall=int(verdict) if verdict.isdigit() else None,
        text=text.strip(),
    )
    found = history.search_labels(session, project.id, wanted, before=cursor_id(cursor), limit=PAGE_ROWS + 1)
    chosen = {"annotator": annotator, "verdict": verdict, "kind": kind, "text": text}
    here = f"/projects/{project.slug}/labels?" + urlencode({name: value for name, value in chosen.items() if value})
    return render(
        request,
        "labels/list.html",
        project=project,
        rows=found[:PAGE_ROWS],
        chosen=chosen,
        flag_names=names(told(project.flags), told(project.retired["flags"])),
        mine=mine is not None,
        annotators=[] if mine else history.annotators(session, project.id),
        next_url=f"{here}&cursor={found[PAGE_ROWS - 1].label.id}" if len(found) > PAGE_ROWS else "",
        first_url=here if cursor else "",
    )


@router.get("/labels/{id}")
def show(request: Request, label_id: LabelId, caller: Caller, session: Db) -> Response:
    mine = own_only(caller)
    found = history.history(session, label_id, only_of=mine)
    return render(
        request,
        "labels/label.html",
        project=found.project,
        place=f"/projects/{found.project.slug}/labels",
        history=found,
        flag_names=names(told(found.project.flags), told(found.project.retired["flags"])),
        criterion_names=names(told(found.project.criteria), told(found.project.retired["criteria"])),
        mine=found.annotator.id == caller.user_id,
        shows_reason=mine is None,
        client_id=str(uuid.uuid4()),
    )
