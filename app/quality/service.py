"""What is known of those who judge: counted by the page itself in a small project, kept by the worker in a large one.

Never older than a minute where a worker runs: it counts a large project again once labels came and `AGAIN` has passed.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.models import Check, Gold, JudgesReport, Label, Project, User, utc_now
from app.quality.report import Person, Report, from_json, written
from app.quality.steadiness import said_before

if TYPE_CHECKING:
    from app.quality.columns import Columns
    from app.quality.counting import Known

SMALL: Final = 10_000  # ids of labels, all that a page counts by itself
SLICE: Final = 20_000  # labels that a worker reads at a time
AGAIN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Told:
    report: Report
    names: dict[int, str]  # of the people in it
    counted_at: datetime | None  # None: now

    def person(self, user_id: int) -> Person | None:
        return next((one for one in self.report.people if one.user_id == user_id), None)


def told(session: Session, project_id: int) -> Told:
    kept = session.scalar(select(JudgesReport).where(JudgesReport.project_id == project_id))
    if kept is not None:
        report, at = from_json(kept.figures), kept.counted_at
    else:
        report, at = _counted(session, project_id), None
    people = [one.user_id for one in report.people]
    names = session.execute(select(User.id, User.name).where(User.id.in_(people))).all()
    return Told(report, dict(names), at)


def _counted(session: Session, project_id: int) -> Report:
    """Of the newest labels, where there are more than a page counts and no worker has counted them yet: of who judges now."""
    from app.quality import columns, counting  # here: the web process starts without NumPy

    return counting.count(columns.newest(session, project_id, SMALL), known(session, project_id))


def known(session: Session, project_id: int) -> dict[int, Known]:
    """By the task of each check: what was said before, or what is right."""
    from app.quality.columns import BOTH_BAD, TIE, UNKNOWN
    from app.quality.counting import Known

    def better(choice: str | None, first: int, second: int | None) -> int:
        return {"first": first, "second": second or 0, "tie": -TIE, "both_bad": -BOTH_BAD}.get(choice or "", UNKNOWN)

    found: dict[int, Known] = {}
    said = select(Check.task_id, Label.choice, Label.overall, Label.left_generation_id, Label.right_generation_id)
    for task_id, choice, overall, left, right in session.execute(
        said.join(Label, said_before(Label)).where(Check.project_id == project_id)
    ):
        side = {"left": "first", "right": "second"}.get(choice or "", choice)
        found[task_id] = Known(False, better(side, left, right), overall or 0)
    right_ones = select(Check.task_id, Gold).join(Gold, Gold.id == Check.gold_id).where(Check.project_id == project_id)
    for task_id, gold in session.execute(right_ones):
        is_better = better(gold.choice, gold.first_generation_id, gold.second_generation_id)
        found[task_id] = Known(True, is_better, gold.overall or 0)
    return found


def keep_counting(engine: Engine, project_id: int, read: MutableMapping[int, Columns], budget_s: float) -> bool:
    """Count a large project anew where labels came; whether there is more to read. `read`: what an earlier look has read."""
    end = time.monotonic() + budget_s
    while (more := _look(engine, project_id, read)) and time.monotonic() < end:
        pass
    return more


def _look(engine: Engine, project_id: int, read: MutableMapping[int, Columns]) -> bool:
    with read_session(engine) as session:
        last = session.scalar(select(func.max(Label.id)).where(Label.project_id == project_id)) or 0
        first = session.scalar(select(func.min(Label.id)).where(Label.project_id == project_id)) or 0
        if last - first < SMALL:
            return False
        kept = session.scalar(select(JudgesReport).where(JudgesReport.project_id == project_id))
        if kept is not None and (kept.label_id == last or utc_now() - kept.counted_at < AGAIN):
            return False
        from app.quality import columns, counting  # here: not before there is something to count

        read[project_id] = columns.read(session, project_id, read.get(project_id), most=SLICE)
        reached = int(read[project_id].label[-1])
        if reached < last:
            return True
        figures = written(counting.count(read[project_id], known(session, project_id)))
        read[project_id] = columns.settled(session, project_id, read[project_id])
    _keep(engine, project_id, reached, figures)
    return False


def _keep(engine: Engine, project_id: int, reached: int, figures: dict[str, object]) -> None:
    try:
        with write_session(engine) as session:
            if session.get_one(Project, project_id).deleted_at is not None:
                return
            kept = session.scalar(select(JudgesReport).where(JudgesReport.project_id == project_id))
            if kept is None:
                kept = JudgesReport(project_id=project_id)
                session.add(kept)
            if kept.label_id is None or kept.label_id <= reached:
                kept.label_id, kept.counted_at, kept.figures = reached, utc_now(), figures
    except IntegrityError:  # another worker made the row
        return
