"""Pages: a project's labels, searched; one verdict with its history. Annotators see their own."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.database.engine import Db
from app.database.searching import total_of
from app.guidelines.starting_point import told
from app.labels import history, search
from app.labels.answers import rubric, spans
from app.labels.api import Before, LabelId, own_only, reason_told
from app.language.languages import _
from app.models.criteria import names
from app.runs.lineage.learners import learners_of
from app.settings import Settings
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, Line, cursor_id
from app.web.pages import render
from app.web.security import Caller

router = APIRouter()

PAGE_ROWS = 50
DAY = r"^(\d{4}-\d{2}-\d{2})?$"


@router.get("/projects/{slug}/labels")
def search_page(
    request: Request,
    project: CurrentProject,
    caller: Caller,
    session: Db,
    annotator: Annotated[str, Query(max_length=19, pattern=r"^\d*$")] = "",
    verdict: Literal["", "left", "right", "tie", "both_bad", "1", "2", "3", "4", "5"] = "",
    kind: Literal["", "comparison", "rating", "ranking"] = "",
    text: Line = "",
    prompt: Annotated[str, Query(max_length=19, pattern=r"^\d*$")] = "",
    flag: Annotated[str, Query(pattern=r"^([a-z][a-z0-9_]{0,39})?$")] = "",
    day_from: Annotated[str, Query(alias="from", pattern=DAY)] = "",
    day_to: Annotated[str, Query(alias="to", pattern=DAY)] = "",
    only: Literal["", "commented", "disputed", "withdrawn"] = "",
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    mine = own_only(caller)
    wanted = search.LabelFilter(
        annotator_id=mine or _id(annotator),
        kind=kind or None,
        choice=verdict if verdict and not verdict.isdigit() else None,
        overall=int(verdict) if verdict.isdigit() else None,
        text=text.strip(),
        prompt_id=_id(prompt),
        flag=flag,
        commented=only == "commented",
        since=_midnight(day_from),
        until=_midnight(day_to, after=1),
        disputed=only == "disputed" and mine is None,  # nobody learns here what others said of their task
        withdrawn=only == "withdrawn",
    )
    wanted = search.with_tasks(session, project.id, wanted)
    found = search.search_labels(session, project.id, wanted, before=cursor_id(cursor), limit=PAGE_ROWS + 1)
    chosen = {"annotator": annotator, "verdict": verdict, "kind": kind, "text": text, "prompt": prompt, "flag": flag}
    chosen |= {"from": day_from, "to": day_to, "only": only}
    here = f"/projects/{project.slug}/labels?" + urlencode({name: value for name, value in chosen.items() if value})
    return render(
        request,
        "labels/list.html",
        project=project,
        rows=found[:PAGE_ROWS],
        chosen=chosen,
        total=total_of(len(found), PAGE_ROWS, cursor, partial(search.count_labels, session, project.id, wanted)),
        flags=[("", _("Any or none")), *names(told(project.flags), told(project.retired["flags"])).items()],
        flag_names=names(told(project.flags), told(project.retired["flags"])),
        mine=mine is not None,
        annotators=[] if mine else search.annotators(session, project.id),
        next_url=f"{here}&cursor={found[PAGE_ROWS - 1].label.id}" if len(found) > PAGE_ROWS else "",
        first_url=here if cursor else "",
    )


def _id(text: str) -> int | None:
    return min(int(text), MAX_ID) if text else None


def _midnight(day: str, after: int = 0) -> datetime | None:
    """The midnight a day begins with where the server stands, or so many days later; a day that is none asks for nothing."""
    try:
        return (datetime.fromisoformat(day) + timedelta(days=after)).astimezone() if day else None
    except (ValueError, OverflowError):
        return None


@router.get("/labels/{id}")
def show(request: Request, label_id: LabelId, caller: Caller, session: Db, before: Before = None) -> Response:
    mine = own_only(caller)
    found = history.history(session, label_id, only_of=mine, before=before)
    settings: Settings = request.app.state.settings
    items = [*found.project.rubric, *found.project.retired["rubric"]]
    span_reasons = [*found.project.span_reasons, *found.project.retired["span_reasons"]]
    return render(
        request,
        "labels/label.html",
        project=found.project,
        place=f"/projects/{found.project.slug}/labels",
        history=found,
        flag_names=names(told(found.project.flags), told(found.project.retired["flags"])),
        criterion_names=names(told(found.project.criteria), told(found.project.retired["criteria"])),
        rubric={one.version: rubric.told(one.rubric, items) for one in found.versions},
        spans={one.version: spans.told(one.spans, span_reasons) for one in found.versions},
        mine=found.annotator.id == caller.user_id,
        reasons={one.version: reason_told(caller, one) for one in found.versions},
        shows_learners=mine is None,
        learners=learners_of(session, found.versions, settings.runs) if mine is None else [],
        client_id=str(uuid.uuid4()),
    )
