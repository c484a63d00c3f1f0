"""The lead of a queue: how many tasks must be open when a model begins to write, so that people do not answer all meanwhile.

Both are measured: how fast people sit down at new tasks, and how long answers of this project took until they were there.
"""

from __future__ import annotations

import math
import statistics
from datetime import timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Label, Project, Run, Seat, utc_now

REMEMBERED: Final = timedelta(minutes=30)  # who answered before may have gone
LOOKED_AT: Final = 200  # verdicts, the newest
FEWEST: Final = 10  # verdicts that tell a pace
QUIET_S: Final = 30.0  # what a longer gap counts for: nobody had anything to answer then, or nobody was there
RUNS: Final = 5  # the last ones, of which one may have waited behind a long one
MARGIN: Final = 2.0  # on what people answer meanwhile: more may come, and the writing may take longer
MOST: Final = 500  # open tasks that are waited for: by the time they are answered another policy may be in force
LONGEST_S: Final = 120.0  # of a run that writes more than it has to; while it does, nothing else begins


def lead(session: Session, project: Project) -> int:
    """With fewer open tasks more answers are to be written: the project's mark, or more where people are fast."""
    return max(
        project.queue_low_mark, min(MOST, math.ceil(MARGIN * _answered_per_s(session, project) * _wait_s(session, project)))
    )


def prompts_at_once(session: Session, project: Project, least: int) -> int:
    """How many prompts one run answers: as many as tasks are to be open, where it writes so many within LONGEST_S."""
    each = [
        (run.ended_at - run.started_at).total_seconds() / len(run.inputs["prompt_ids"])
        for run in _written(session, project)
        if run.started_at is not None and run.ended_at is not None
    ]
    if not each:
        return least
    return max(least, min(lead(session, project), int(LONGEST_S / max(1e-3, statistics.median(each)))))


def _answered_per_s(session: Session, project: Project) -> float:
    """Tasks that somebody sits down at first, while people work. One that waits for its second person is open to few."""
    newest = (  # rows at the end of an index
        select(Label.created_at, Label.served_reason, Seat.number)
        .join(Seat, Seat.id == Label.seat_id)
        .where(Label.project_id == project.id, Label.current.is_(True))
        .order_by(Label.id.desc())
        .limit(LOOKED_AT)
    )
    since = utc_now() - REMEMBERED
    drawn = [moment for moment, reason, number in session.execute(newest) if reason == "random" and number == 1]
    moments = sorted((moment for moment in drawn if moment > since), reverse=True)
    if len(moments) < FEWEST:
        return 0.0
    gaps = [min(QUIET_S, (later - earlier).total_seconds()) for later, earlier in pairwise(moments)]
    return len(gaps) / max(1e-3, sum(gaps))


def _wait_s(session: Session, project: Project) -> float:
    """From asking for answers until they are all there; the first of them are there before."""
    waits = [(run.ended_at - run.queued_at).total_seconds() for run in _written(session, project) if run.ended_at is not None]
    return statistics.median(waits) if waits else 0.0


def _written(session: Session, project: Project) -> list[Run]:
    """The last runs that answered prompts of the queue, and nothing else."""
    done = (
        select(Run)
        .where(Run.project_id == project.id, Run.kind == "sample", Run.state == "done", Run.round_id.is_(None))
        .order_by(Run.id.desc())
        .limit(4 * RUNS)
    )
    mine = [run for run in session.scalars(done) if run.inputs.get("prompt_ids") and run.inputs.get("split") != "holdout"]
    return mine[:RUNS]
