"""A project's guidelines: every version, and which of them a person has been told about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.language.languages import _
from app.models import Guideline, Membership, Project, User
from app.texts.diff import Line, changed_lines


@dataclass(frozen=True, slots=True)
class Version:
    version: int
    created_at: datetime
    author: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the guidelines between two versions."""

    since: int
    version: int
    lines: tuple[Line, ...]


def guideline(session: Session, project: Project, version: int | None = None) -> Guideline:
    """The guidelines in force, or an earlier version. Raises NotFound."""
    wanted = project.guideline_version if version is None else version
    found = session.scalar(select(Guideline).where(Guideline.project_id == project.id, Guideline.version == wanted))
    if found is None:
        raise NotFound(_("There is no such version of the guidelines."))
    return found


def versions(session: Session, project_id: int) -> list[Version]:
    """Newest first."""
    rows = session.execute(
        select(Guideline.version, Guideline.created_at, User.name)
        .outerjoin(User, User.id == Guideline.created_by)
        .where(Guideline.project_id == project_id)
        .order_by(Guideline.version.desc())
    )
    return [Version(*row) for row in rows]


def change_between(session: Session, project: Project, since: int, version: int) -> Change:
    """Raises NotFound for a version there never was."""
    before, after = guideline(session, project, since), guideline(session, project, version)
    return Change(since, version, changed_lines(before.text, after.text))


def untold_change(session: Session, project: Project, user_id: int) -> Change | None:
    """What this member has not been told about yet. None: nothing, or they began with the guidelines in force."""
    seen = session.scalar(
        select(Membership.seen_guideline_version).where(Membership.user_id == user_id, Membership.project_id == project.id)
    )
    if seen is None or seen >= project.guideline_version:
        return None
    change = change_between(session, project, seen, project.guideline_version)
    return change if change.lines else None  # changed, and changed back


def note_seen(session: Session, project: Project, user_id: int, version: int) -> None:
    """This member knows the guidelines up to this version; nobody knows one that is not written yet."""
    session.execute(
        update(Membership)
        .where(Membership.user_id == user_id, Membership.project_id == project.id)
        .values(seen_guideline_version=min(version, project.guideline_version))
    )
