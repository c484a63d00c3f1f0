"""Searching a project's labels: what a list shows, by what it is narrowed, and how many fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import CompoundSelect, Select, exists, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from app.database.searching import Total, count_fitting, lists_word, says
from app.labels.disputed import said
from app.labels.record import is_latest
from app.models import Label, Membership, Prompt, Task, User

FEW: Final = 1_000  # tasks, named one by one


@dataclass(frozen=True, slots=True)
class LabelRow:
    label: Label
    annotator: str
    messages: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Which labels a search shows; an empty field lets everything through."""

    annotator_id: int | None = None
    kind: str | None = None
    choice: str | None = None
    overall: int | None = None
    text: str = ""  # in the prompt
    tasks: tuple[int, ...] | None = None  # those it means, see `with_tasks`
    history: bool = False  # versions that were corrected later, too
    prompt_id: int | None = None
    flag: str = ""  # the key of a flag on one of the answers
    commented: bool = False
    since: datetime | None = None
    until: datetime | None = None  # exclusive
    disputed: bool = False  # somebody else said otherwise about the same task
    withdrawn: bool = False  # verdicts taken back, which else are not shown


def with_tasks(session: Session, project_id: int, wanted: LabelFilter) -> LabelFilter:
    """The same filter, with the tasks that it means where those are few: their labels are found by an index.

    Words are looked for in every prompt, so whoever shows a page and counts what fits does it once.
    """
    meant = _tasks_meant(project_id, wanted)
    if meant is None:
        return wanted
    found = session.scalars(meant.limit(FEW + 1)).all()
    return wanted if len(found) > FEW else replace(wanted, tasks=tuple(found))


def search_labels(
    session: Session, project_id: int, wanted: LabelFilter, *, before: int | None = None, limit: int = 50
) -> list[LabelRow]:
    """Labels, newest first; `before` is the last id of the page before."""
    query = (
        select(Label, User.name, Prompt.messages)
        .join(User, User.id == Label.annotator_id)
        .join(Task, Task.id == Label.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(*_conditions(project_id, wanted))
        .order_by(Label.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(Label.id < before)
    return [LabelRow(label, name, messages) for label, name, messages in session.execute(query)]


def count_labels(session: Session, project_id: int, wanted: LabelFilter) -> Total:
    return count_fitting(session, Label, _conditions(project_id, wanted))


def _conditions(project_id: int, wanted: LabelFilter) -> list[Any]:
    # Versions out of force stand in no index by project: they are read by id, and labels of a few tasks by those, which the sum
    # makes sure of.
    by_project = not (wanted.history or wanted.withdrawn or wanted.tasks is not None)
    found: list[Any] = [(Label.project_id if by_project else Label.project_id + 0) == project_id]
    for column, value in (
        (Label.annotator_id, wanted.annotator_id),
        (Label.kind, wanted.kind),
        (Label.choice, wanted.choice),
        (Label.overall, wanted.overall),
    ):
        if value is not None:
            found.append(column == value)
    if wanted.withdrawn:
        found += [Label.withdrawn, is_latest(Label)]
    elif not wanted.history:
        found.append(Label.current)
    if wanted.tasks is not None:
        found.append(Label.task_id.in_(wanted.tasks))
    elif (meant := _tasks_meant(project_id, wanted)) is not None:
        found.append(meant.where(Task.id == Label.task_id).correlate(Label).exists())  # where many fit, a page is full soon
    if wanted.prompt_id is not None:
        found.append(Label.task_id.in_(select(Task.id).where(Task.prompt_id == wanted.prompt_id)))
    if wanted.flag:
        found.append(lists_word(Label.flags, wanted.flag))
    if wanted.commented:
        found.append(Label.comment != "")
    if wanted.since is not None:
        found.append(Label.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(Label.created_at < wanted.until)
    if wanted.disputed and (wanted.history or wanted.withdrawn):
        other = aliased(Label)
        theirs = exists().where(other.task_id == Label.task_id, other.current, other.annotator_id != Label.annotator_id)
        found += [Label.id.in_(_may_be_disputed(project_id)), theirs.where(said(other) != said(Label))]
    return found


def _may_be_disputed(project_id: int) -> CompoundSelect[int]:
    """Versions out of force, of which the task does not say it, and all labels of disputed tasks: only these are compared."""
    label = aliased(Label)
    out_of_force = select(label.id).where(label.project_id == project_id, label.current.is_(False))
    of_tasks = select(label.id).join(Task, Task.id == label.task_id).where(Task.project_id == project_id, Task.disputed)
    return union_all(out_of_force, of_tasks)


def annotators(session: Session, project_id: int) -> Sequence[tuple[int, str]]:
    """Who may have labelled: (id, name) of members and of everybody with a label, by name."""
    people = or_(
        User.id.in_(select(Membership.user_id).where(Membership.project_id == project_id)),
        exists().where(Label.annotator_id == User.id, Label.project_id + 0 == project_id),  # by person, not by project
    )
    return [(user_id, name) for user_id, name in session.execute(select(User.id, User.name).where(people).order_by(User.name))]


def _tasks_meant(project_id: int, wanted: LabelFilter) -> Select[int] | None:
    """Those about the text and, where verdicts in force are looked for, those that are disputed; none where any task does."""
    by_task = wanted.disputed and not wanted.history and not wanted.withdrawn
    if not (wanted.text or by_task):
        return None
    query = select(Task.id).where(Task.project_id == project_id)
    if by_task:
        query = query.where(Task.disputed)
    if wanted.text:
        query = query.join(Prompt, Prompt.id == Task.prompt_id)
        query = query.where(Prompt.project_id == project_id, says(Prompt.messages, wanted.text))
    return query
