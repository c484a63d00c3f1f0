"""What a project's run folders hold over the API, and what a prune would free of them. It walks through none of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from app.database.engine import Db
from app.disk.pruning import forecast
from app.disk.usage import usage
from app.models import Project, utc_now
from app.settings import Settings
from app.web.gate import CurrentProjectId
from app.web.json_types import Reply

router = APIRouter(tags=["projects"])

LONGEST_DAYS = 36_500


class DiskReply(Reply):
    """By the worker's last walk through the folders, which is a few minutes old."""

    octets: int = Field(description="Bytes in the folders of this project's runs.")
    free_octets: int = Field(description="Bytes that are left on that disk.")
    octets_a_day: float | None = Field(description="By which all projects' folders grow; null before there is a day to go by.")
    days_left: float | None = Field(description="Until the disk is full; null where nobody can say, or not within ten years.")
    older_than: int | None = Field(description="Days since a run's end that were asked about; null: none were, all is kept.")
    could_go_octets: int = Field(
        description="Bytes that a prune of runs older than that would free. `keep_days` of the project has the worker do it."
    )


def data_of(request: Request) -> Path:
    settings: Settings = request.app.state.settings
    return settings.data.resolve()


@router.get("/projects/{slug}/disk")
def show_disk(
    session: Db,
    project_id: CurrentProjectId,
    data: Annotated[Path, Depends(data_of)],
    older_than: Annotated[
        int | None,
        Query(ge=0, le=LONGEST_DAYS, description="Days since a run ended; left out, what the project keeps."),
    ] = None,
) -> DiskReply:
    """How much the project's runs hold, how long the disk lasts, and what `tastemaker prune` would free."""
    project = session.get_one(Project, project_id)
    found = usage(session, project, data)
    days = project.keep_days if older_than is None else older_than
    return DiskReply(
        octets=found.octets,
        free_octets=found.free,
        octets_a_day=found.a_day,
        days_left=found.days_left,
        older_than=days,
        could_go_octets=0 if days is None else forecast(session, data, project, utc_now() - timedelta(days=days)),
    )
