"""What a round costs the people who label for it, at one overlap or another."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Label, Project
from app.runs.run_settings import expected_config
from trainer.contract.config import config_dict

COMPARED: Final = (1, 2, 3, 5)  # overlaps shown beside the one asked about
MOST_TIMES: Final = 1_000  # of the latest labels of a kind, for the median


@dataclass(frozen=True, slots=True)
class Cost:
    overlap: int
    labels: int
    seconds: float | None  # of people's reading and judging together; none before anybody judged each kind
    chosen: bool


class Shares(NamedTuple):
    """Of all tasks; the rest are comparisons."""

    ratings: float
    rankings: float = 0.0


@dataclass(frozen=True, slots=True)
class RoundCost:
    """The same number of different tasks judged for one round, at several overlaps."""

    tasks: int
    ratings: int  # of the tasks
    rankings: int
    fewest: int  # labels under which no reward model is fitted
    timed: int  # labels the seconds rest on
    costs: list[Cost]


def round_cost(session: Session, project: Project, overlap: int, shares: Shares, trigger_labels: int | None) -> RoundCost:
    """As many tasks as a round has labels when each task is judged once: those that start a round, else the fewest it needs."""
    fewest = int(config_dict(expected_config(project, "reward", {}))["min_labels"])
    tasks = trigger_labels or fewest
    ratings, rankings = round(tasks * shares.ratings), round(tasks * shares.rankings)
    times = {kind: _times(session, project.id, kind) for kind in ("comparison", "rating", "ranking")}
    each = {kind: statistics.median(found) if found else None for kind, found in times.items()}
    once = 0.0
    for kind, number in (("comparison", tasks - ratings - rankings), ("rating", ratings), ("ranking", rankings)):
        seconds = each[kind]
        if number and seconds is None:
            once = float("nan")
        once += number * (seconds or 0.0)
    costs = [
        Cost(seats, tasks * seats, once * seats if once == once else None, seats == overlap)
        for seats in sorted({*COMPARED, overlap})
    ]
    return RoundCost(tasks, ratings, rankings, fewest, sum(len(found) for found in times.values()), costs)


def _times(session: Session, project_id: int, kind: str) -> list[float]:
    """Seconds people spent on the latest labels of a kind, active time where it is known."""
    spent = func.coalesce(Label.active_ms, Label.wall_ms)
    rows = session.scalars(
        select(spent)
        .where(Label.project_id == project_id, Label.current, Label.kind == kind, spent.is_not(None))
        .order_by(Label.id.desc())
        .limit(MOST_TIMES)
    )
    return [milliseconds / 1000 for milliseconds in rows]
