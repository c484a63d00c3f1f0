"""Removing what belonged to a deleted project, in small bites, so that nobody waits for it: the worker does it beside its runs.

Rows that others point to go last: feedback, labels, talks, checks and known answers, seats and tasks, answers, announcements,
practice, contenders, rounds with runs and checkpoints, prompts, guidelines. Each bite finds what is left by itself, so a crash in
between costs nothing. The project's own row stays.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database.engine import read_session, write_session
from app.models import (
    Announcement,
    Chat,
    ChatTurn,
    Check,
    Checkpoint,
    Contender,
    Delivery,
    Dispute,
    Doubt,
    Evaluation,
    EvaluationCandidate,
    EvaluationRest,
    EvaluationTask,
    Exclusion,
    Feedback,
    Generation,
    Gold,
    Guideline,
    JudgesReport,
    KeptAnswer,
    Label,
    Leaderboard,
    PracticeTask,
    PracticeVerdict,
    Project,
    Prompt,
    ProposedPrompt,
    RankedAnswer,
    Round,
    Run,
    Seat,
    Skip,
    Task,
)
from app.runs.run_files import run_folder, texts_folder

LOCK_S = 0.03  # what a bite should take; the next one is smaller or larger by how this one did
LEAST, FIRST, MOST = 20, 200, 2_000  # rows of a bite


def take_out(engine: Engine, data: Path, budget_s: float) -> bool:
    """Go on for about so long with what is to be removed; whether there is more to be done at once."""
    end = time.monotonic() + budget_s
    bite = FIRST
    while (project_id := _next(engine)) is not None:
        began = time.monotonic()
        try:
            _take_bite(engine, data, project_id, bite)
        except IntegrityError as error:  # somebody's last verdict came in between: it is found at the next look
            print(f"Project {project_id} is not taken out yet: {error.orig}", file=sys.stderr)
            return False
        took = max(1e-4, time.monotonic() - began)
        bite = max(LEAST, min(MOST, int(bite * min(2.0, LOCK_S / took))))
        if time.monotonic() > end:
            return True
    return False


def _next(engine: Engine) -> int | None:
    """A deleted project whose guidelines, which go last, are still there; none that is still computed for."""
    with read_session(engine) as session:
        return session.scalar(
            select(Project.id)
            .where(Project.deleted_at.is_not(None))
            .where(exists().where(Guideline.project_id == Project.id))
            .where(~exists().where(Run.project_id == Project.id, Run.state.in_(("queued", "running"))))
            .order_by(Project.id)
            .limit(1)
        )


def _take_bite(engine: Engine, data: Path, project_id: int, bite: int) -> None:
    """Rows are found while others write, and removed by their ids."""
    for find, remove in _ORDER:
        with read_session(engine) as session:
            ids = list(session.scalars(find(project_id).limit(bite)))
        if ids:
            with write_session(engine) as session:
                remove(session, ids)
            return
    if _remove_a_folder(engine, data, project_id):
        return
    with write_session(engine) as session:
        _remove_runs(session, project_id)
        for table in (Leaderboard, JudgesReport, Exclusion, Prompt, Guideline):
            session.execute(delete(table).where(table.project_id == project_id))
        emptied = {
            "slug": f"deleted {project_id}",
            "base_model": "",
            "criteria": [],
            "rubric": [],
            "span_reasons": [],
            "sampling": {},
            "training": {},
        }
        session.execute(update(Project).where(Project.id == project_id).values(**emptied))


def _remove_a_folder(engine: Engine, data: Path, project_id: int) -> bool:
    """The files go before the rows that name them: the id of a run may be given again."""
    with read_session(engine) as session:
        slug = session.get_one(Project, project_id).slug
        run_ids = session.scalars(select(Run.id).where(Run.project_id == project_id)).all()
    for folder in (texts_folder(data, slug), *(run_folder(data / "runs", run_id) for run_id in run_ids)):
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.is_dir():
                return True
            _leave_to_a_person(folder)
    return False


def _leave_to_a_person(folder: Path) -> None:
    """A folder that cannot be removed holds nothing up, and no later run may take it for its own."""
    with contextlib.suppress(OSError):
        folder.rename(folder.with_name(f"{folder.name}.left"))
    print(f"{folder} could not be removed; it is left to you.", file=sys.stderr)


def _remove_runs(session: Session, project_id: int) -> None:
    """Rounds, runs and checkpoints point at one another: first they let go."""
    session.execute(update(Project).where(Project.id == project_id).values(policy_id=None, previous_policy_id=None))
    session.execute(update(Checkpoint).where(Checkpoint.project_id == project_id).values(run_id=None, parent_id=None))
    session.execute(update(Run).where(Run.project_id == project_id).values(round_id=None, retry_of_id=None))
    for table in (Evaluation, Contender, Round, Run, Checkpoint):
        session.execute(delete(table).where(table.project_id == project_id))


# What goes, in this order, and how: the statement that finds ids, and what is done with them.


def _remove(table: Any) -> Callable[[Session, Iterable[int]], None]:
    def remove(session: Session, ids: Iterable[int]) -> None:
        session.execute(delete(table).where(table.id.in_(ids)).execution_options(synchronize_session=False))

    return remove


def _remove_versions(session: Session, ids: Iterable[int]) -> None:
    """The newest first, one by one: each points at the version before it."""
    connection = session.connection()
    for label_id in sorted(ids, reverse=True):
        connection.execute(delete(Label).where(Label.id == label_id))


def _remove_tasks(session: Session, ids: Iterable[int]) -> None:
    for table in (Skip, Seat, EvaluationTask, RankedAnswer):
        session.execute(delete(table).where(table.task_id.in_(ids)).execution_options(synchronize_session=False))
    session.execute(delete(Task).where(Task.id.in_(ids)).execution_options(synchronize_session=False))


_ORDER: tuple[tuple[Callable[[int], Any], Callable[[Session, Iterable[int]], None]], ...] = (
    (lambda project: select(Feedback.id).where(Feedback.project_id == project), _remove(Feedback)),
    (lambda project: select(KeptAnswer.id).where(KeptAnswer.project_id == project), _remove(KeptAnswer)),
    (lambda project: select(Doubt.id).where(Doubt.project_id == project), _remove(Doubt)),
    (lambda project: select(Dispute.id).where(Dispute.project_id == project), _remove(Dispute)),
    (lambda project: select(Label.id).where(Label.project_id == project, Label.current), _remove(Label)),
    (lambda project: select(Label.id).where(Label.project_id == project).order_by(Label.id.desc()), _remove_versions),
    (lambda project: select(ChatTurn.id).join(Chat).where(Chat.project_id == project), _remove(ChatTurn)),
    (lambda project: select(Chat.id).where(Chat.project_id == project), _remove(Chat)),
    (lambda project: select(Check.id).where(Check.project_id == project), _remove(Check)),
    (lambda project: select(Gold.id).where(Gold.project_id == project), _remove(Gold)),
    (lambda project: select(Task.id).where(Task.project_id == project), _remove_tasks),
    (
        lambda project: select(Generation.id).join(Prompt, Prompt.id == Generation.prompt_id).where(Prompt.project_id == project),
        _remove(Generation),
    ),
    (
        lambda project: select(EvaluationCandidate.id).join(Evaluation).where(Evaluation.project_id == project),
        _remove(EvaluationCandidate),
    ),
    (lambda project: select(EvaluationRest.id).where(EvaluationRest.project_id == project), _remove(EvaluationRest)),
    (lambda project: select(ProposedPrompt.id).where(ProposedPrompt.project_id == project), _remove(ProposedPrompt)),
    (
        lambda project: select(Delivery.id).join(Announcement).where(Announcement.project_id == project),
        _remove(Delivery),
    ),
    (lambda project: select(Announcement.id).where(Announcement.project_id == project), _remove(Announcement)),
    (lambda project: select(PracticeVerdict.id).where(PracticeVerdict.project_id == project), _remove(PracticeVerdict)),
    (lambda project: select(PracticeTask.id).where(PracticeTask.project_id == project), _remove(PracticeTask)),
    (lambda project: select(Prompt.id).where(Prompt.project_id == project), _remove(Prompt)),
)
