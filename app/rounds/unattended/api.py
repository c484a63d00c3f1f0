"""Rounds without hands over the API: what holds them back, pausing them, and letting them start again."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session

from app.database.engine import Db, WriteDb
from app.models import Project
from app.rounds.unattended import budgets, pause
from app.web.gate import CurrentProjectId
from app.web.json_types import Reply
from app.web.security import Caller

router = APIRouter(tags=["rounds"])


class BudgetReply(Reply):
    name: Literal["labels", "evaluation_labels", "hours"]
    used: float = Field(description="This month, in UTC; labels are counted up to the budget.")
    most: float
    again: datetime = Field(description="When it begins again.")


class UnattendedReply(Reply):
    triggers_on: bool
    paused_at: datetime | None
    budgets: list[BudgetReply] = Field(description="Those that the project has; by hand one may use more.")


@router.get("/projects/{slug}/unattended")
def show_unattended(session: Db, project_id: CurrentProjectId) -> UnattendedReply:
    """Whether rounds start by themselves, and what a month's budgets are at."""
    return _reply(session, session.get_one(Project, project_id))


@router.post("/projects/{slug}/pause")
def pause_rounds(session: WriteDb, caller: Caller, project_id: CurrentProjectId) -> UnattendedReply:
    """Let no further round start by itself. What computes or is judged goes on to its decision."""
    project = session.get_one(Project, project_id)
    pause.pause(session, project, caller.user_id)
    return _reply(session, project)


@router.post("/projects/{slug}/resume")
def resume_rounds(session: WriteDb, caller: Caller, project_id: CurrentProjectId) -> UnattendedReply:
    project = session.get_one(Project, project_id)
    pause.resume(session, project, caller.user_id)
    return _reply(session, project)


def _reply(session: Session, project: Project) -> UnattendedReply:
    found = [BudgetReply.model_validate(one) for one in budgets.budgets(session, project)]
    return UnattendedReply(triggers_on=project.triggers_on, paused_at=project.paused_at, budgets=found)
