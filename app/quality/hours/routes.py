"""Pages: how long each person worked on each day, and the same as CSV. Admins only."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db
from app.exports.csv_text import csv_lines
from app.exports.service import BYTE_ORDER_MARK
from app.models import Project, utc_now
from app.projects.hours_budget import used
from app.quality.hours import service
from app.quality.hours.service import Worked
from app.web.gate import CurrentProjectId
from app.web.pages import render

router = APIRouter()

Day = Annotated[str, Query(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]
SHOWN = 200  # rows of days; the file has all


@router.get("/projects/{slug}/hours")
def show_hours(
    request: Request,
    session: Db,
    project_id: CurrentProjectId,
    day_from: Annotated[Day, Query(alias="from")] = "",
    day_to: Annotated[Day, Query(alias="to")] = "",
) -> Response:
    worked, since, until = _asked(session, project_id, day_from, day_to)
    project = session.get_one(Project, project_id)
    return render(
        request,
        "quality/hours.html",
        project=project,
        budget=used(project, utc_now()),
        place=f"/projects/{request.path_params['slug']}/agreement",
        rows=worked[:SHOWN],
        more=max(0, len(worked) - SHOWN),
        totals=service.totals(worked),
        since=since.isoformat(),
        until=until.isoformat(),
    )


@router.get("/projects/{slug}/hours/file")
def download_hours(
    session: Db,
    project_id: CurrentProjectId,
    day_from: Annotated[Day, Query(alias="from")] = "",
    day_to: Annotated[Day, Query(alias="to")] = "",
) -> Response:
    worked, since, until = _asked(session, project_id, day_from, day_to)
    rows = [[one.user_id, one.name, one.day.isoformat(), one.minutes, one.labels] for one in worked]
    text = BYTE_ORDER_MARK + csv_lines([["user_id", "name", "day", "active_minutes", "labels"], *rows])
    name = f"{session.get_one(Project, project_id).slug}-hours-{since}-{until}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-cache"}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def _asked(session: Session, project_id: int, day_from: str, day_to: str) -> tuple[list[Worked], date, date]:
    """What is asked for, this month unless somebody says otherwise; a day that is none is today."""
    today = utc_now().astimezone().date()
    until = _day(day_to, today)
    since = _day(day_from, min(until, today).replace(day=1))
    return service.hours(session, project_id, since, until), since, until


def _day(text: str, otherwise: date) -> date:
    try:
        return date.fromisoformat(text) if text else otherwise
    except ValueError:
        return otherwise
