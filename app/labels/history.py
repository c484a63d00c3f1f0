"""What people see of their own work: progress, last verdicts; and one verdict's history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Select, Text, and_, bindparam, cast, exists, func, or_, select, union
from sqlalchemy.orm import Session, aliased

from app.errors import NotFound
from app.labels.record import is_latest
from app.labels.withdraw import still_stands
from app.language.languages import _
from app.models import Generation, Label, Project, Prompt, Seat, Skip, Task, User, Utc, last_midnight
from app.queue.claim import IN_ORDER, Ended, cut_marks, last_place
from app.queue.conditions import NOT_SAID, for_them, not_had, open_to

COUNT_TO: Final = 200  # what is left is counted this far and no further
MOST_SAID: Final = 300_000  # characters of comments and rewrites on a page of a verdict's versions, beyond the first
LOOKED_AT: Final = 1000  # free seats, at either place where a person's next task may be


@dataclass(frozen=True, slots=True)
class Progress:
    today: int  # tasks this person answered since midnight where the server stands
    left: int  # tasks open to them now, the one in hand included
    left_is_more: bool  # `left` was counted no further


@dataclass(frozen=True, slots=True)
class PastVerdict:
    """One of a person's last verdicts, or a task they skipped."""

    task_id: int
    at: datetime
    label: Label | None  # none: skipped


@dataclass(frozen=True, slots=True)
class History:
    """Versions of one person's verdict on one task, newest first, and what they saw."""

    label: Label  # the one asked for
    newest: Label
    versions: list[Label]
    older: int | None  # the version before which there are more
    project: Project
    task: Task
    annotator: User
    messages: list[dict[str, str]]
    left: str
    right: str | None
    left_cut: bool  # the length limit ended the answer
    right_cut: bool
    answers: list[tuple[str, bool]]  # of a ranking, as they were shown, and whether each was cut


def progress(session: Session, project_id: int, annotator_id: int, kept: str = "") -> Progress:
    """`kept`: the audiences of prompts that are not for this person."""
    here = {"project": project_id, "me": annotator_id}
    today = session.scalar(_TODAY, here | {"midnight": last_midnight()}) or 0
    statement, values = (_LEFT_OF_SOME, {"kept": kept}) if kept else (_LEFT, {})
    left = session.scalar(statement, here | values | {"most": COUNT_TO + 1}) or 0
    return Progress(today, min(left, COUNT_TO), left > COUNT_TO)


def last_verdicts(session: Session, project_id: int, annotator_id: int, limit: int = 10) -> list[PastVerdict]:
    """The person's latest verdicts, withdrawn ones too, and skips, newest first, one entry for each task."""
    here = {"project": project_id, "me": annotator_id, "limit": limit}
    verdicts = [PastVerdict(label.task_id, label.created_at, label) for label in session.scalars(_LAST_LABELS, here)]
    verdicts += [PastVerdict(skip.task_id, skip.created_at, None) for skip in session.scalars(_LAST_SKIPS, here)]
    return sorted(verdicts, key=lambda verdict: verdict.at, reverse=True)[:limit]


def verdict_before(verdicts: Sequence[PastVerdict], task_id: int | None) -> int | None:
    """The task that undo opens: of the verdict before this task's, or the last one where this task has none; none at the end."""
    tasks = [verdict.task_id for verdict in verdicts]
    earlier = tasks[tasks.index(task_id) + 1 :] if task_id in tasks else tasks
    return earlier[0] if earlier else None


def my_label(session: Session, task_id: int, annotator_id: int) -> Label | None:
    """The latest version of this person's verdict on the task: in force, or withdrawn."""
    mine = (Label.task_id == task_id, Label.annotator_id == annotator_id)
    return session.scalar(select(Label).where(*mine).order_by(Label.version.desc()).limit(1))


def has_skipped(session: Session, task_id: int, annotator_id: int) -> bool:
    """Whether this person said that they would rather not answer the task."""
    mine = (Skip.task_id == task_id, Skip.annotator_id == annotator_id)
    return session.scalar(select(Skip.id).where(*mine, Skip.reason.not_in(NOT_SAID))) is not None


def history(session: Session, label_id: int, *, only_of: int | None = None, before: int | None = None) -> History:
    """The verdict that this label is a version of; as many versions as a page takes, with `before` older ones than that.

    With `only_of`, another person's label does not exist. Raises NotFound.
    """
    label = session.get(Label, label_id)
    if label is None or (only_of is not None and label.annotator_id != only_of):
        raise NotFound(_("There is no such label."))
    mine = (Label.task_id == label.task_id, Label.annotator_id == label.annotator_id)
    newest = session.scalars(select(Label).where(*mine).order_by(Label.version.desc()).limit(1)).one()
    versions, older = _page_of_versions(session, mine, before or newest.version + 1)
    task = session.get_one(Task, label.task_id)
    left = session.get_one(Generation, label.left_generation_id)
    right = session.get(Generation, label.right_generation_id) if label.right_generation_id else None
    return History(
        label,
        newest,
        versions,
        older,
        session.get_one(Project, label.project_id),
        task,
        session.get_one(User, label.annotator_id),
        session.get_one(Prompt, task.prompt_id).messages,
        left.text,
        right.text if right else None,
        *cut_marks(_ended(left), _ended(right) if right else None),
        _ranked(session, label),
    )


def _ranked(session: Session, label: Label) -> list[tuple[str, bool]]:
    answers = [session.get_one(Generation, shown) for shown in (label.ranking or {}).get("shown", ())]
    known = all(_ended(answer)[0] is not None for answer in answers)  # as for two: `cut_marks`
    return [(answer.text, known and answer.finish_reason == "length") for answer in answers]


def _ended(answer: Generation) -> Ended:
    return answer.run_id or answer.checkpoint_id, answer.finish_reason


def _page_of_versions(session: Session, mine: Sequence[ColumnElement[bool]], before: int) -> tuple[list[Label], int | None]:
    """Those before a version, the newest first, and the version before which there are more."""
    said = func.length(Label.comment) + func.coalesce(func.length(cast(Label.rewrite, Text)), 0)
    sizes = session.execute(select(Label.version, said).where(*mine, Label.version < before).order_by(Label.version.desc())).all()
    sums = accumulate(size for _version, size in sizes)
    shown = max(1, sum(total <= MOST_SAID for total in sums))
    if not sizes:
        return [], None
    last = sizes[:shown][-1][0]
    query = select(Label).where(*mine, Label.version < before, Label.version >= last).order_by(Label.version.desc())
    return list(session.scalars(query)), last if shown < len(sizes) else None


# What stands around every task is asked with each of them: these statements are built once.

_me: Any = bindparam("me")
_project: Any = bindparam("project")


def _left(*which: ColumnElement[bool]) -> Select[int]:
    """Tasks this person holds or may take: free seats are looked for where claiming does, the oldest and behind their last."""
    free = (
        select(Seat.id, Seat.task_id)
        .where(Seat.project_id == _project, Seat.state == "free", open_to(_me))
        .order_by(*IN_ORDER)
        .limit(LOOKED_AT)
    )
    behind = Seat.place > last_place(_me, _project).scalar_subquery()
    seen = (free.subquery("oldest"), free.where(behind).subquery("behind"))
    most: Any = bindparam("most", type_=Integer())
    takeable = [select(seats.c.task_id).where(not_had(seats.c.task_id)).distinct().limit(most) for seats in seen]
    if which:
        takeable = [one.join(Task, Task.id == seats.c.task_id).where(*which) for one, seats in zip(takeable, seen, strict=True)]
    mine = select(Seat.task_id).where(Seat.annotator_id == _me, Seat.state == "leased", Seat.project_id == _project)
    tasks = union(mine, *(select(one.subquery().c.task_id) for one in takeable)).limit(most)
    return select(func.count()).select_from(tasks.subquery())


_LEFT: Final = _left()
_LEFT_OF_SOME: Final = _left(for_them())
_TODAY: Final = (
    select(func.count())
    .select_from(Label)
    .where(Label.annotator_id == _me, Label.project_id + 0 == _project)  # by the person: theirs of a day are few
    .where(Label.version == 1, Label.created_at >= bindparam("midnight", type_=Utc()), still_stands(Label))
)
_LAST_LABELS: Final = (
    select(Label)
    .where(Label.annotator_id == _me, Label.project_id == _project)
    .where(or_(Label.current, and_(Label.withdrawn, is_latest(Label))))
    .order_by(Label.id.desc())
    .limit(bindparam("limit", type_=Integer()))
)
_answered = aliased(Label)
_LAST_SKIPS: Final = (
    select(Skip)
    .join(Task, Task.id == Skip.task_id)
    .where(Skip.annotator_id == _me, Task.project_id == _project, Skip.reason.not_in(NOT_SAID))
    .where(~exists().where(_answered.task_id == Skip.task_id, _answered.annotator_id == _me))
    .order_by(Skip.id.desc())
    .limit(bindparam("limit", type_=Integer()))
)
