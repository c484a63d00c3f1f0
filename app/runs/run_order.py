"""Whose turn it is: what the worker does now, and in which order it takes the runs that wait.

Projects take turns: next comes the one that was served longest ago, so that nobody's long work keeps the others out. Within a
project runs go in the order in which they were asked for, but for sampling while its people run out of tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Membership, Project, Run, Worker, utc_now
from app.queue import make_tasks

SILENT = timedelta(seconds=20)  # a worker gives a sign of life every two seconds
MOST_OVERTAKING = 2  # sampling runs that go before another run of the project, or a fast queue would hold its rounds up for ever


@dataclass(frozen=True)
class Standing:
    """`heard_at`: the last sign of life of any worker; `run`: the one it works on, of whatever project."""

    alive: bool
    heard_at: datetime | None
    run: Run | None
    queued: int  # runs that wait


def worker_standing(session: Session, now: datetime | None = None) -> Standing:
    """Looks at the newest sign of life; a worker that stopped properly leaves none."""
    now = now or utc_now()
    heard_at = session.scalar(select(Worker.heartbeat_at).order_by(Worker.heartbeat_at.desc()).limit(1))
    run = session.scalar(select(Run).where(Run.state == "running").order_by(Run.id).limit(1))
    queued = len(session.scalars(select(Run.id).where(Run.state == "queued").limit(100)).all())
    return Standing(heard_at is not None and now - heard_at < SILENT, heard_at, run, queued)


def next_run(session: Session) -> Run | None:
    """The run a free worker takes now."""
    return next(iter(turns(session)), None)


def turns(session: Session, also: Run | None = None) -> list[Run]:
    """The waiting runs in the order in which they will be taken, as it looks now. `also` stands for one not queued yet."""
    waiting = session.scalars(
        select(Run).join(Project, Project.id == Run.project_id).where(Run.state == "queued").order_by(Run.id)
    ).all()
    queues: dict[int, list[Run]] = {}
    for run in (*waiting, *([also] if also else [])):
        queues.setdefault(run.project_id, []).append(run)
    queues = {project_id: _within(session, project_id, runs) for project_id, runs in queues.items()}
    turn = _served_longest_ago(session, queues)
    order: list[Run] = []
    while turn:
        project_id = turn.pop(0)
        order.append(queues[project_id].pop(0))
        if queues[project_id]:
            turn.append(project_id)
    return order


def names_seen(session: Session, runs: Iterable[Run | None], user_id: int | None) -> dict[int, str]:
    """Names of the projects of these runs, by id: of those this person belongs to, as nobody else may know; with none, of all."""
    names = select(Project.id, Project.name).where(Project.id.in_({run.project_id for run in runs if run is not None}))
    if user_id is not None:
        names = names.where(Project.id.in_(select(Membership.project_id).where(Membership.user_id == user_id)))
    return dict(session.execute(names).all())


def _served_longest_ago(session: Session, queues: dict[int, list[Run]]) -> list[int]:
    """The projects, the one to be served next first. One that has begun a run and was interrupted goes on with it."""
    served = dict(
        session.execute(
            select(Run.project_id, func.max(Run.heartbeat_at)).where(Run.project_id.in_(queues)).group_by(Run.project_id)
        ).all()
    )

    def place(project_id: int) -> tuple[bool, bool, datetime, int]:
        first, last = queues[project_id][0], served.get(project_id)
        return (first.started_at is None, last is not None, last or first.queued_at, first.id)

    return sorted(queues, key=place)


def _within(session: Session, project_id: int, runs: list[Run]) -> list[Run]:
    """One project's waiting runs in their order."""
    oldest = next((run for run in runs if run.kind != "sample"), None)
    if oldest is None:
        return sorted(runs, key=lambda run: (run.started_at is None, run.id))
    first = [run for run in runs if run.id < oldest.id]
    if make_tasks.refill_needed(session, session.get_one(Project, project_id)):
        later = [run for run in runs if run.kind == "sample" and run.id > oldest.id]
        first += later[: max(0, MOST_OVERTAKING - _overtook(session, oldest))]
    return sorted(runs, key=lambda run: (run.started_at is None, run not in first, run.id))


def _overtook(session: Session, waiting: Run) -> int:
    """How many sampling runs that were asked for after this run went before it."""
    before = select(func.count()).select_from(Run).where(Run.project_id == waiting.project_id, Run.kind == "sample")
    return session.scalar(before.where(Run.id > waiting.id, Run.started_at.is_not(None))) or 0
