"""What a worker looks after beside its run: rounds that are due, queues that run low, and what an earlier look missed.

Every worker does so. Two of them may find the same at the same moment; what happens once is decided by the database.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, case, exists, or_, select
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.disk.pruning import free_what_is_due
from app.disk.sizes import Walk
from app.errors import Refusal
from app.evaluation import service as evaluations
from app.evaluation.leaderboard.tally import keep_counting
from app.models import Checkpoint, Evaluation, Project, utc_now
from app.quality.chores import look_after_people
from app.quality.hours import counting as hours_counting
from app.quality.service import keep_counting as keep_counting_people
from app.queue import asking
from app.rounds import people_decide
from app.rounds.promotion import ask_first
from app.rounds.service import advance_round, start_round, undone_rounds
from app.rounds.triggers import NextTrigger, held_back, next_trigger
from app.rounds.unattended.budgets import announce_used, budgets, holds_back, unannounced
from app.runs.refill import Refill, plan_refill, queue_refill, refill_prompts
from trainer.worker.failures import living_on
from trainer.worker.prompt_lengths import Count

if TYPE_CHECKING:
    from app.quality.columns import Columns

COUNTING_S = 1.0  # of a look, verdicts for leaderboards
TIDYING_S = 3600.0  # from one look for what ended evaluations left in the queue to the next
PRUNING_S = 3600.0  # from one look at what the disk holds to the next
WALKING_S = 0.2  # of a look, through the folders of runs
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # before any run ended: nothing is old enough
ASKING_S = 5.0  # of a look at all projects together; the run that is held is watched again afterwards


@dataclass
class Looks:
    """What one worker remembers from a look to the next."""

    asked: int = 0  # the project that was asked about last
    looked_after: int = 0  # the project that was looked after last
    unfinished: dict[int, asking.Plan] = field(default_factory=dict)
    judged: dict[int, Columns] = field(default_factory=dict)  # labels of large projects, as they are counted
    worked: dict[int, hours_counting.Before] = field(default_factory=dict)  # hours of projects with a budget of them
    pruned_at: float | None = None  # by the monotonic clock
    tidied_at: float | None = None  # likewise
    walk: Walk = field(default_factory=Walk)  # through the folders of runs
    count: Count = field(default_factory=Count)  # of prompts' tokens


def look_after_projects(engine: Engine, looks: Looks) -> None:
    """Look after every project, or after as many as there is time for: the next look goes on with the one behind.

    Beside it the tokens of prompts are counted that came or changed since, and verdicts for leaderboards.
    """
    with read_session(engine) as session:
        found = session.execute(select(Project.id, Project.hours_budget).where(Project.archived_at.is_(None))).all()
    project_ids = [project_id for project_id, _budget in found]
    for project_id in (project_id for project_id, budget in found if budget is not None):
        with living_on(f"counting hours of project {project_id}"):
            hours_counting.keep_counting(engine, project_id, looks.worked)
    end = time.monotonic() + ASKING_S
    for project_id in _in_turn(project_ids, looks.looked_after):
        looks.looked_after = project_id
        with living_on(f"a chore of project {project_id}"):
            _look_after(engine, project_id, end, looks)
        if time.monotonic() > end:
            break
    for project_id in project_ids:
        with living_on(f"checks of project {project_id}"):
            look_after_people(engine, project_id)
    with living_on("counting tokens"):
        looks.count.go_on(engine, project_ids)
    end = time.monotonic() + COUNTING_S
    for project_id in project_ids:
        with living_on(f"counting verdicts of project {project_id}"):
            if keep_counting(engine, project_id, end - time.monotonic()):
                break
    end = time.monotonic() + COUNTING_S
    for project_id in project_ids:
        with living_on(f"counting who judges in project {project_id}"):
            if keep_counting_people(engine, project_id, looks.judged, end - time.monotonic()):
                break


def free_the_disk(engine: Engine, data: Path, looks: Looks) -> None:
    """Once an hour, fold away what projects with a retention keep no longer, and of all projects what a prune that died left."""
    if looks.pruned_at is not None and time.monotonic() < looks.pruned_at + PRUNING_S:
        return
    looks.pruned_at = time.monotonic()
    keeps = case((Project.archived_at.is_(None), Project.keep_days))
    begun = exists().where(Checkpoint.project_id == Project.id, Checkpoint.pruned_at.is_not(None))
    keeping = select(Project.id, keeps).where(Project.deleted_at.is_(None), or_(keeps.is_not(None), begun))
    with read_session(engine) as session:
        found = session.execute(keeping.order_by(Project.id)).all()
    for project_id, days in found:
        with living_on(f"freeing the disk of project {project_id}"):
            before = LONG_AGO if days is None else utc_now() - timedelta(days=days)
            freed = free_what_is_due(engine, data, project_id, before)
            for path, why in freed.left:
                print(f"{path} could not be removed: {why}", file=sys.stderr)


def tidy_the_queue(engine: Engine, looks: Looks) -> None:
    """Once an hour, take tasks back that an evaluation left which has ended: what people say to them would count for nothing."""
    if looks.tidied_at is not None and time.monotonic() < looks.tidied_at + TIDYING_S:
        return
    looks.tidied_at = time.monotonic()
    with read_session(engine) as session:
        found = evaluations.with_leftovers(session)
    for evaluation_id in found:
        with living_on(f"taking back tasks of evaluation {evaluation_id}"), write_session(engine) as session:
            evaluations.ask_no_more(session, session.get_one(Evaluation, evaluation_id))


def measure_the_disk(engine: Engine, data: Path, looks: Looks) -> None:
    """A little of the walk through the folders of runs, for the pages that say how much there is."""
    with living_on("measuring the folders of runs"):
        looks.walk.go_on(engine, data, WALKING_S)


def ask_what_is_due(engine: Engine, looks: Looks) -> None:
    """Make the tasks that a promotion or the end of a sampling left to be made, of as many projects as there is time for."""
    with read_session(engine) as session:
        found = dict(asking.due(session))
    end = time.monotonic() + ASKING_S
    for project_id in _in_turn(found, looks.asked):
        looks.asked = project_id
        with living_on(f"asking about answers of project {project_id}"):
            if _asks_no_more(engine, project_id):
                continue  # it stays due, until the month's budget begins again
            if found[project_id]:
                ask_first(engine, project_id)
            asking.ask(engine, project_id, budget_s=end - time.monotonic(), unfinished=looks.unfinished)
        if time.monotonic() > end:
            break


def _asks_no_more(engine: Engine, project_id: int) -> bool:
    with read_session(engine) as session:
        return holds_back(budgets(session, session.get_one(Project, project_id))) is not None


def _in_turn(project_ids: Iterable[int], last: int) -> list[int]:
    """All of them, those behind the last one first."""
    return sorted(project_ids, key=lambda project_id: (project_id <= last, project_id))


def _look_after(engine: Engine, project_id: int, end: float, looks: Looks) -> None:
    """Go on with what was left undone, start the round that is due and refill the queue that runs low, as far as the month's
    budgets go.

    What is wanted is found while others write; whether somebody was faster, whoever does it asks again.
    """
    try:
        with read_session(engine) as session:
            project = session.get_one(Project, project_id)
            used = budgets(session, project)
            low = holds_back(used) is None and bool(refill_prompts(session, project))
            news = bool(unannounced(session, project, used))
        if low:
            # About answers that are there, before more are written.
            asking.ask(engine, project_id, budget_s=end - time.monotonic(), unfinished=looks.unfinished)
        with read_session(engine) as session:
            project = session.get_one(Project, project_id)
            undone, refill, coming = (
                undone_rounds(session, project_id),
                plan_refill(session, project) if low else None,
                next_trigger(session, project, used=used),
            )
        people_decide.look_after(engine, project_id, asks=holds_back(used, evaluation=True) is None)
        if undone or refill or coming.due or news:
            with write_session(engine) as session:
                project = hold(session, session.get_one(Project, project_id))
                announce_used(session, project, used)
                _serve(session, project, refill, coming)
    except Refusal as refusal:  # somebody was faster, or a setting cannot be used: the pages say so too
        print(f"Project {project_id}: {refusal.detail}", file=sys.stderr)


def _serve(session: Session, project: Project, refill: Refill | None, coming: NextTrigger) -> None:
    for round_ in undone_rounds(session, project.id):
        advance_round(session, round_)
    if refill is not None:
        queue_refill(session, project, refill)
    if coming.due is not None and _is_still_wanted(session, project):
        start_round(session, project, coming.due, None, usable=coming.usable)


def _is_still_wanted(session: Session, project: Project) -> bool:
    """Whether a round may start by itself, now that the project is held: it was found due a while ago."""
    return project.triggers_on and not held_back(project, budgets(session, project))
