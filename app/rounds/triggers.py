"""Rounds that start by themselves: every so many new labels, every so many hours, or both, whichever comes first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.language.languages import _, ngettext
from app.models import Project, Round, Run, utc_now
from app.rounds import service
from app.rounds.unattended.budgets import Budget, budgets, waits_for
from app.runs.usable_labels import excluded_since, usable_before, usable_label_count

FAILED_ROUNDS = 3  # in a row, and none starts by itself until somebody has started one


@dataclass(frozen=True)
class NextTrigger:
    """When the next round starts by itself, for a page to say."""

    on: bool
    usable: int  # labels a reward model would learn from now
    new_labels: int  # since the last round, whatever was withdrawn from training meanwhile
    labels_left: int | None  # until the label trigger fires; None: there is no such trigger
    due_at: datetime | None  # of the clock trigger
    waits_for: str  # what holds a due round back; empty when nothing does
    due: str | None  # "labels" or "hours" when a round is to start now


def next_trigger(
    session: Session, project: Project, now: datetime | None = None, used: list[Budget] | None = None
) -> NextTrigger:
    """What the project's triggers say at this moment. `used`: its budgets, where they were counted already."""
    now = now or utc_now()
    last = session.scalar(select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(1))
    usable = usable_label_count(session, project.id)
    froze_at = _froze_at(session, last) if last else project.created_at
    excluded = excluded_since(session, project.id, froze_at) if last else []
    gone = usable_before(session, project.id, excluded, froze_at)
    new = max(0, usable + gone - (last.label_count if last else 0))
    left = max(0, project.trigger_labels - new) if project.trigger_labels is not None else None
    since = last.started_at if last else project.created_at
    due_at = since + timedelta(hours=project.trigger_hours) if project.trigger_hours is not None else None
    waits = _waits_for(session, project, usable, bool(new or excluded))
    if project.triggers_on and not waits:
        waits = held_back(project, budgets(session, project, now) if used is None else used)
    due = None
    if project.triggers_on and not waits:
        due = "labels" if left == 0 else "hours" if due_at is not None and due_at <= now else None
    return NextTrigger(project.triggers_on, usable, new, left, due_at, waits, due)


def _froze_at(session: Session, round_: Round) -> datetime:
    """When the labels were frozen that it learned from, as far as they are."""
    began = select(func.max(Run.started_at)).where(Run.round_id == round_.id, Run.kind == "reward", Run.label_digest.is_not(None))
    return session.scalar(began) or round_.started_at


def held_back(project: Project, used: list[Budget]) -> str:
    """By a pause, or by what a month may use up."""
    return _("somebody to end the pause") if project.paused_at is not None else waits_for(used)


def _waits_for(session: Session, project: Project, usable: int, has_news: bool) -> str:
    if (open_ := service.open_round(session, project.id)) is not None:
        if open_.state == "decision":
            return _("a decision on round %(number)s", number=open_.number)
        if open_.state == "evaluation":
            return _("people to judge the candidate of round %(number)s", number=open_.number)
        return _("round %(number)s to end", number=open_.number)
    last = [round_.state for round_ in service.list_rounds(session, project.id, limit=FAILED_ROUNDS)]
    if last == ["failed"] * FAILED_ROUNDS:
        return _("somebody to start it: the last %(count)s failed", count=FAILED_ROUNDS)
    needed = service.fewest_labels(project)
    if usable < needed:
        return ngettext(
            "%(num)s more label, %(needed)s being the fewest a reward model is fitted on",
            "%(num)s more labels, %(needed)s being the fewest a reward model is fitted on",
            needed - usable,
            needed=needed,
        )
    return "" if has_news else _("a new label")
