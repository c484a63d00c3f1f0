"""What a person sees of their own work: how much, how fast, how often others judge alike, and what came of it.

Nobody is compared by name, and agreement is only told as a share over enough tasks: no single verdict of somebody else can
be read out of it.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session, aliased

from app.labels.disputed import REVIEW
from app.labels.withdraw import still_stands
from app.models import Evaluation, Label, Project, Round, Task, last_midnight
from app.practice.service import NEAR_ENOUGH
from app.runs.lineage.learners import rounds_that_learned
from trainer.contract.intervals import wilson
from trainer.contract.messages import Message

DAYS: Final = 7
MOST_TIMES: Final = 5_000  # latest labels that medians look at
ENOUGH_TASKS: Final = 10  # judged by somebody else too, before agreement is told
MOST_PAIRS: Final = 20_000  # latest pairs of verdicts that agreement looks at
LATEST_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Speed:
    """The median time spent on one label, active time where it is known; `timed` labels it rests on."""

    kind: str
    median_s: float | None
    timed: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the others' verdicts on the same task were the same. `share` is none until there are enough tasks."""

    kind: str
    tasks: int  # judged by this person and by somebody else
    share: float | None
    low: float | None  # of its 95 % interval (Wilson)
    high: float | None


@dataclass(frozen=True, slots=True)
class Learned:
    """What a round learned from this person."""

    round: Round
    mine: int
    labels: int  # it learned from in all
    judged: Message | None  # how people compared its model with the one before, once that is over


@dataclass(frozen=True, slots=True)
class Work:
    today: int
    today_s: float | None  # spent on them
    per_hour: float | None  # today, of the time spent judging
    days: list[tuple[date, int]]  # the last ones, today first
    all_time: int
    speeds: list[Speed]
    agreements: list[Agreement]
    learned: list[Learned]


def work_of(session: Session, project: Project, user_id: int, runs: Path) -> Work:
    midnight = last_midnight()
    mine = (Label.project_id + 0 == project.id, Label.annotator_id == user_id, still_stands(Label))
    spent = func.coalesce(Label.active_ms, Label.wall_ms)
    first = select(Label.created_at, spent).where(*mine, Label.version == 1)
    since = midnight - timedelta(days=DAYS - 1)
    rows = session.execute(first.where(Label.created_at >= since).order_by(Label.id.desc())).all()
    today = [milliseconds for created_at, milliseconds in rows if created_at >= midnight]
    seconds = sum(milliseconds for milliseconds in today if milliseconds is not None) / 1000
    timed = sum(milliseconds is not None for milliseconds in today)
    by_day: dict[date, int] = defaultdict(int)
    for created_at, _milliseconds in rows:
        by_day[created_at.astimezone().date()] += 1
    return Work(
        today=len(today),
        today_s=seconds if timed else None,
        per_hour=timed / seconds * 3600 if seconds else None,
        days=[(day, by_day[day]) for day in (midnight.date() - timedelta(days=back) for back in range(DAYS))],
        all_time=session.scalar(select(func.count(Label.id)).where(*mine, Label.version == 1)) or 0,
        speeds=[_speed(session, project.id, user_id, kind) for kind in ("comparison", "rating", "ranking")],
        agreements=agreements(session, project.id, user_id),
        learned=_learned(session, project.id, user_id, runs),
    )


def agreements(session: Session, project_id: int, user_id: int) -> list[Agreement]:
    """With everybody else, per kind of task. A choice is compared by the answer chosen, since people see other sides."""
    mine, other = aliased(Label), aliased(Label)
    rows = session.execute(
        select(
            mine.task_id,
            mine.kind,
            mine.choice,
            mine.left_generation_id.label("left"),
            mine.overall,
            other.choice.label("other_choice"),
            other.left_generation_id.label("other_left"),
            other.overall.label("other_overall"),
        )
        .join(other, other.task_id == mine.task_id)
        .join(Task, Task.id == mine.task_id)
        .where(mine.project_id + 0 == project_id, mine.annotator_id == user_id, other.annotator_id != user_id)
        # The first verdict of mine: by correcting it, step by step, one could otherwise find out what the other said.
        .where(mine.version == 1, still_stands(mine), other.current, ~mine.surplus, ~other.surplus)
        .where(
            Task.purpose.not_in(("gold", "repeat")),
            Task.kind != "ranking",
            mine.served_reason != REVIEW,
            other.served_reason != REVIEW,
        )
        .order_by(mine.id.desc())
        .limit(MOST_PAIRS)
    )
    alike: dict[str, dict[int, list[bool]]] = {"comparison": defaultdict(list), "rating": defaultdict(list)}
    for row in rows:
        alike[row.kind][row.task_id].append(_alike(row))
    return [_agreement(kind, tasks.values()) for kind, tasks in alike.items()]


def _alike(row: Row[int, str, str | None, int, int | None, str | None, int, int | None]) -> bool:
    if row.kind == "rating":
        return bool(abs(row.overall - row.other_overall) <= NEAR_ENOUGH)
    if row.choice in ("left", "right") and row.other_choice in ("left", "right"):
        same_sides: bool = row.left == row.other_left
        return bool(same_sides == (row.choice == row.other_choice))
    return bool(row.choice == row.other_choice)


def _agreement(kind: str, tasks: Iterable[list[bool]]) -> Agreement:
    shares = [statistics.fmean(verdicts) for verdicts in tasks]
    if len(shares) < ENOUGH_TASKS:
        return Agreement(kind, len(shares), None, None, None)
    share = statistics.fmean(shares)
    low, high = wilson(share, len(shares))
    return Agreement(kind, len(shares), share, low, high)


def _speed(session: Session, project_id: int, user_id: int, kind: str) -> Speed:
    spent = func.coalesce(Label.active_ms, Label.wall_ms)
    times = session.scalars(
        select(spent)
        .where(Label.project_id + 0 == project_id, Label.annotator_id == user_id)  # by person: a project has far more labels
        .where(Label.current, Label.kind == kind, spent.is_not(None))
        .order_by(Label.id.desc())
        .limit(MOST_TIMES)
    ).all()
    return Speed(kind, statistics.median(times) / 1000 if times else None, len(times))


def _learned(session: Session, project_id: int, user_id: int, runs: Path) -> list[Learned]:
    """The latest rounds that learned from some of this person's labels, newest first, and how people judged what came of them."""
    found = rounds_that_learned(session, project_id, user_id, runs, LATEST_ROUNDS)
    decided = select(Evaluation.round_id, Evaluation.reason).where(Evaluation.state == "decided")
    reasons = dict(session.execute(decided.where(Evaluation.round_id.in_([one.round.id for one in found]))).all())
    return [Learned(one.round, one.theirs, one.labels, reasons.get(one.round.id)) for one in found]
