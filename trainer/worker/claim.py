"""Claiming a run: the next one that is due, or one whose worker is dead, for one worker of however many look at once."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.models import Run, utc_now
from app.runs.run_order import next_run
from app.runs.runs import get_run, hold_run
from app.settings import Settings
from trainer.contract.messages import Message
from trainer.worker import results

DEAD_AFTER = timedelta(seconds=30)  # without a sign of life a worker has lost its run
MOST_ATTEMPTS = 3  # crashes in a row, without a step forward in between


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that is this worker's, as long as the row's fence is this one."""

    run_id: int
    project_id: int
    kind: str
    fence: int


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """A file that a worker of this data folder keeps locked for as long as it lives; the kernel lets go of it when it dies."""

    path: Path
    file: TextIO

    def end(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


def sign_of_life(settings: Settings, name: str) -> SignOfLife:
    """Of a worker that has just been given its name."""
    path = _path(settings, name)
    file = _hold(path)
    assert file is not None, "the name is new"
    return SignOfLife(path, file)


def next_claim(engine: Engine, settings: Settings, name: str) -> Claimed | None:
    """The run that is now the worker `name`'s; none where nothing is due, or another worker was faster."""
    with read_session(engine) as session:
        run = abandoned(session, settings, name) or next_run(session)
        if run is None:
            return None
        seen = (run.id, run.fence, run.state)
    with write_session(engine) as session:
        run = take(session, name, *seen)
        if run is None:
            return None
        if run.cancel_requested_at is not None:
            results.record_end(session, run, "cancelled", Message("cancelled"))
            return None
        if run.attempts > MOST_ATTEMPTS:
            results.record_end(session, run, "failed", Message("worker_died"))
            return None
        return Claimed(run.id, run.project_id, run.kind, run.fence)  # ours once that is committed


def abandoned(session: Session, settings: Settings, name: str) -> Run | None:
    """A run whose worker is dead, or has been silent for too long."""
    for run in session.scalars(select(Run).where(Run.state == "running").order_by(Run.id)):
        silent = run.heartbeat_at is None or utc_now() - run.heartbeat_at > DEAD_AFTER
        if silent or (run.owner not in (None, name) and _is_dead(_path(settings, str(run.owner)))):
            return run
    return None


def _is_dead(sign: Path) -> bool:
    if not sign.exists():
        return False  # of another machine, or closed in order: its silence will tell
    file = _hold(sign)
    if file is None:
        return False
    file.close()
    return True


def take(session: Session, name: str, run_id: int, fence: int, state: str) -> Run | None:
    """Take the run if it is still as it was seen: of two workers that saw it, one gets it."""
    hold_run(session, run_id)
    now = utc_now()
    taken = session.scalar(
        update(Run)
        .where(Run.id == run_id)
        .where(Run.fence == fence)
        .where(Run.state == state)
        .values(state="running", owner=name, fence=Run.fence + 1, attempts=Run.attempts + 1, heartbeat_at=now)
        .returning(Run.id)
    )
    if taken is None:
        return None
    run = get_run(session, run_id)
    run.started_at = run.started_at or now
    run.message = Message("starting")
    return run


def _path(settings: Settings, name: str) -> Path:
    return settings.data.resolve() / "workers" / f"{name}.lock"


def _hold(path: Path) -> TextIO | None:
    """The file, locked until it is closed or this process dies; None when another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def give_back(run: Run, *, blameless: bool) -> None:
    """Let any worker claim it; an attempt that failed for nothing of its own does not count."""
    run.state, run.owner, run.eta_s, run.message = "queued", None, None, Message("waiting_to_go_on")
    if blameless:
        run.attempts -= 1
