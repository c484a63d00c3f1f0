"""Practice: a new annotator answers tasks whose answer is known, reads why, and goes on to real ones.

An attempt asks as many tasks as the project says. With a qualifying score, real tasks open once an attempt reaches it; without
one, when the first attempt is through. Whether that is still ahead of somebody is one column of the gate's query
(`app/web/who_asks.py`), so claiming a task asks the database nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Integer, Select, case, cast, exists, func, select, update
from sqlalchemy.orm import Session

from app.database import audit
from app.errors import Conflict, Invalid, NotFound
from app.labels.verdict import CHOICES
from app.language.languages import _
from app.models import Label, Membership, PracticeTask, PracticeVerdict, Project, User, utc_now
from app.models.values import Unusable, share_between, whole_number

NEAR_ENOUGH: Final = 1  # a rating this far from the known one is right: people use scales differently


@dataclass(frozen=True, slots=True)
class Standing:
    """How far somebody's practice is."""

    attempt: int  # from 1
    total: int  # tasks of the attempt
    done: int  # of this attempt
    right: int  # of those
    needed: int  # right ones that open real tasks; 0: none are needed
    passed: bool  # real tasks are open

    @property
    def is_over(self) -> bool:
        return self.done >= self.total

    @property
    def failed(self) -> bool:
        return self.is_over and not self.passed


@dataclass(frozen=True, slots=True)
class Practising:
    """One member's practice, for the admin's list."""

    user_id: int
    name: str
    practised_at: datetime | None
    attempts: int
    done: int  # verdicts of the last attempt
    right: int
    has_labels: bool


# The annotator's side


def standing(session: Session, project: Project, user_id: int) -> Standing:
    return _of_attempt(session, project, user_id, _attempt(session, project.id, user_id))


def _of_attempt(session: Session, project: Project, user_id: int, attempt: int) -> Standing:
    done, right = _counts(session, project.id, user_id, attempt)
    membership = _membership(session, project.id, user_id)
    passed = membership is not None and membership.practised_at is not None
    total = _total(session, project, user_id, attempt, done)
    return Standing(attempt, total, done, right, _needed(project, total), passed)


def next_task(session: Session, project: Project, user_id: int, *, again: bool = False) -> PracticeTask | None:
    """The task of this attempt that comes next, those the person met least often first; None once it is over.

    `again` begins another attempt when this one is over and was not enough.
    """
    now = standing(session, project, user_id)
    attempt = now.attempt
    if now.is_over:
        if not (again and now.failed):
            return None
        attempt += 1
    return session.scalars(_unanswered(project.id, user_id, attempt).limit(1)).first()


def answer(
    session: Session,
    project: Project,
    user_id: int,
    task_id: int,
    *,
    choice: str | None = None,
    overall: int | None = None,
) -> PracticeVerdict:
    """Store what somebody says to a practice task; the same answer again is the same answer.

    Raises Invalid for an answer of the wrong kind, NotFound for a task that is not of this project or put away, Conflict when
    it was answered otherwise in this attempt, and after many attempts.
    """
    task = get_task(session, project.id, task_id)
    if task.kind == "comparison" and (choice not in CHOICES or overall is not None):
        raise Invalid(_("Choose an answer first, then go on."), {"choice": _("Choose A, B, tie or both bad.")})
    if task.kind == "rating" and (overall not in (1, 2, 3, 4, 5) or choice is not None):
        raise Invalid(_("Give a score first, then go on."), {"overall": _("Give an overall score from 1 to 5.")})
    now = standing(session, project, user_id)
    attempt = now.attempt + 1 if now.failed else now.attempt
    known = verdict_of(session, user_id, task_id)
    if known is not None and (known.attempt == attempt or now.is_over) and (known.choice, known.overall) == (choice, overall):
        return known
    if known is not None and known.attempt == attempt:
        raise Conflict(_("You have answered this practice task already; the explanation is on its page."))
    if now.is_over and not now.failed:
        raise Conflict(_("Your practice is over. Real tasks are open to you."))
    if task.archived_at is not None:
        raise NotFound(_("There is no such practice task."))
    if attempt > MOST_ATTEMPTS:
        raise Conflict(_("You have practised %(most)s times. Ask an admin of the project to let you in.", most=MOST_ATTEMPTS))
    verdict = PracticeVerdict(
        project_id=project.id,
        task_id=task_id,
        annotator_id=user_id,
        attempt=attempt,
        choice=choice,
        overall=overall,
        is_right=_is_right(task, choice, overall),
    )
    session.add(verdict)
    session.flush()
    _open_when_passed(session, project, user_id)
    return verdict


def verdict_of(session: Session, user_id: int, task_id: int) -> PracticeVerdict | None:
    """The person's latest answer to a practice task."""
    return session.scalar(
        select(PracticeVerdict)
        .where(PracticeVerdict.annotator_id == user_id, PracticeVerdict.task_id == task_id)
        .order_by(PracticeVerdict.attempt.desc())
        .limit(1)
    )


def _is_right(task: PracticeTask, choice: str | None, overall: int | None) -> bool:
    if task.kind == "comparison":
        return choice == task.choice
    return overall is not None and task.overall is not None and abs(overall - task.overall) <= NEAR_ENOUGH


def _open_when_passed(session: Session, project: Project, user_id: int) -> None:
    if _is_enough(standing(session, project, user_id)) and _membership(session, project.id, user_id) is not None:
        admit(session, project.id, user_id)


def _is_enough(now: Standing) -> bool:
    return now.total > 0 and now.is_over and now.right >= now.needed


def _attempt(session: Session, project_id: int, user_id: int) -> int:
    last = session.scalar(
        select(func.max(PracticeVerdict.attempt)).where(
            PracticeVerdict.annotator_id == user_id, PracticeVerdict.project_id == project_id
        )
    )
    return last or 1


def _counts(session: Session, project_id: int, user_id: int, attempt: int) -> tuple[int, int]:
    done, right = session.execute(
        select(func.count(), func.coalesce(func.sum(cast(PracticeVerdict.is_right, Integer)), 0)).where(
            PracticeVerdict.annotator_id == user_id,
            PracticeVerdict.project_id == project_id,
            PracticeVerdict.attempt == attempt,
        )
    ).one()
    return done, right


def _total(session: Session, project: Project, user_id: int, attempt: int, done: int) -> int:
    """Never more than there are, nor fewer than were answered: of a longer attempt, the share is asked of all its answers."""
    if not project.practice_tasks:
        return 0
    ahead = session.scalar(select(func.count()).select_from(_unanswered(project.id, user_id, attempt).subquery())) or 0
    return max(done, min(project.practice_tasks, done + ahead))


def _needed(project: Project, total: int) -> int:
    """The whole number of right answers that reaches the share; a hair less than one more counts as reached."""
    return math.ceil(project.qualifying_score * total - 1e-9)


def _unanswered(project_id: int, user_id: int, attempt: int) -> Select[PracticeTask]:
    mine = (
        select(
            PracticeVerdict.task_id,
            func.count().label("times"),
            func.max(case((PracticeVerdict.attempt == attempt, 1), else_=0)).label("now"),
        )
        .where(PracticeVerdict.annotator_id == user_id)
        .group_by(PracticeVerdict.task_id)
        .subquery()
    )
    return (
        select(PracticeTask)
        .outerjoin(mine, mine.c.task_id == PracticeTask.id)
        .where(PracticeTask.project_id == project_id, PracticeTask.archived_at.is_(None))
        .where(func.coalesce(mine.c.now, 0) == 0)
        .order_by(func.coalesce(mine.c.times, 0), PracticeTask.id)
    )


def _membership(session: Session, project_id: int, user_id: int) -> Membership | None:
    return session.scalar(select(Membership).where(Membership.user_id == user_id, Membership.project_id == project_id))


# Who may go on


def admit(session: Session, project_id: int, user_id: int) -> None:
    """Real tasks are open to this member from now on. Raises NotFound for somebody who is none."""
    membership = _membership(session, project_id, user_id)
    if membership is None:
        raise NotFound(_("This person is not a member of the project."))
    membership.practised_at = membership.practised_at or utc_now()
    session.flush()


def admit_experienced(session: Session, project_id: int) -> None:
    """Whoever has judged in this project before it asked for practice is not new."""
    session.execute(
        update(Membership)
        .where(Membership.project_id == project_id, Membership.practised_at.is_(None))
        .where(exists().where(Label.annotator_id == Membership.user_id, Label.project_id + 0 == project_id))  # person by person
        .values(practised_at=utc_now())
        .execution_options(synchronize_session=False)
    )


def admit_qualified(session: Session, project: Project) -> None:
    """Whoever has an attempt that is enough by the rule as it is now; nobody who is in is sent back to practise."""
    attempts = select(PracticeVerdict.annotator_id, PracticeVerdict.attempt).where(PracticeVerdict.project_id == project.id)
    waiting = select(Membership.user_id).where(Membership.project_id == project.id, Membership.practised_at.is_(None))
    for user_id, attempt in session.execute(attempts.where(PracticeVerdict.annotator_id.in_(waiting)).distinct()).all():
        if _is_enough(_of_attempt(session, project, user_id, attempt)):
            admit(session, project.id, user_id)


def practising(session: Session, project_id: int) -> list[Practising]:
    """Every annotator of the project, those who are not through first."""
    attempts = {
        row.annotator_id: row
        for row in session.execute(
            select(
                PracticeVerdict.annotator_id,
                PracticeVerdict.attempt,
                func.count().label("done"),
                func.sum(cast(PracticeVerdict.is_right, Integer)).label("right"),
            )
            .where(PracticeVerdict.project_id == project_id)
            .group_by(PracticeVerdict.annotator_id, PracticeVerdict.attempt)
            .order_by(PracticeVerdict.annotator_id, PracticeVerdict.attempt)
        )
    }
    labelled = select(Label.id).where(Label.project_id == project_id, Label.annotator_id == User.id).exists()
    members = session.execute(
        select(User.id, User.name, Membership.practised_at, labelled.label("labelled"))
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.project_id == project_id, Membership.role == "annotator")
        .order_by(Membership.practised_at.is_not(None), User.name)
    )
    found = []
    for user_id, name, practised_at, has_labels in members:
        last = attempts.get(user_id)
        attempt, done, right = (last.attempt, last.done, last.right) if last else (0, 0, 0)
        found.append(Practising(user_id, name, practised_at, attempt, done, right, has_labels))
    return found


# The admin's side


def get_task(session: Session, project_id: int, task_id: int) -> PracticeTask:
    """Raises NotFound."""
    task = session.get(PracticeTask, task_id)
    if task is None or task.project_id != project_id:
        raise NotFound(_("There is no such practice task."))
    return task


def list_tasks(session: Session, project_id: int) -> Sequence[PracticeTask]:
    """In the order in which they are met, those put away last."""
    return session.scalars(
        select(PracticeTask)
        .where(PracticeTask.project_id == project_id)
        .order_by(PracticeTask.archived_at.is_not(None), PracticeTask.id)
    ).all()


def right_shares(session: Session, project_id: int) -> dict[int, tuple[int, int]]:
    """Per task: (first answers, right ones among them). A task that most get wrong may be the wrong task."""
    rows = session.execute(
        select(PracticeVerdict.task_id, func.count(), func.sum(cast(PracticeVerdict.is_right, Integer)))
        .where(PracticeVerdict.project_id == project_id, PracticeVerdict.attempt == 1)
        .group_by(PracticeVerdict.task_id)
    )
    return {task_id: (answers, right) for task_id, answers, right in rows}


# The rules: how many tasks, and how many right ones


MAX_PRACTICE_TASKS: Final = 50
MOST_ATTEMPTS: Final = 50  # of one person
CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "practice_tasks": whole_number(0, MAX_PRACTICE_TASKS),
    "qualifying_score": share_between(0, 1),
}


def set_rules(session: Session, project: Project, values: Mapping[str, Any], by: int | None) -> None:
    """Change `practice_tasks` and `qualifying_score`. Raises Invalid with a sentence per field."""
    clean, problems = {}, {}
    for name, value in values.items():
        try:
            clean[name] = CHECKS[name](value)
        except Unusable as problem:
            problems[name] = str(problem)
    if problems:
        raise Invalid(_("Some settings cannot be used. Nothing was changed."), problems)
    before_change(session, project, clean)
    changed = sorted(name for name in clean if clean[name] != getattr(project, name))
    for name, value in clean.items():
        setattr(project, name, value)
    if changed:
        audit.record(session, by, "project.changed", project.slug, {"fields": changed}, project.id)
    session.flush()
    after_change(session, project, changed)


def before_change(session: Session, project: Project, values: Mapping[str, Any]) -> None:
    """With the first practice, whoever has judged in the project stays in."""
    if values.get("practice_tasks") and not project.practice_tasks:
        admit_experienced(session, project.id)


def after_change(session: Session, project: Project, changed: Collection[str]) -> None:
    """Whoever has an attempt that is enough by the new rule is in."""
    if not CHECKS.keys().isdisjoint(changed):
        admit_qualified(session, project)
