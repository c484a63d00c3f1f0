"""A project's guidelines: every version, and which of them a person has been told about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database import audit
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound
from app.guidelines.starting_point import is_shipped, told_guidelines
from app.language.formats import number
from app.language.languages import _
from app.models import Guideline, Membership, Project, User
from app.models.values import Unusable, plain_text
from app.texts.diff import Line, changed_lines, unified
from trainer.contract.texts import trimmed

MOST_VERSIONS: Final = 1_000  # of one project's
MAX_GUIDELINES: Final = 20_000  # characters; rendering Markdown is superlinear on hostile text


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
    text: str  # as `diff -u` writes it


def guideline(session: Session, project: Project, version: int | None = None) -> Guideline:
    """The guidelines in force, or an earlier version. Raises NotFound."""
    wanted = project.guideline_version if version is None else version
    found = session.scalar(select(Guideline).where(Guideline.project_id == project.id, Guideline.version == wanted))
    if found is None:
        raise NotFound(_("There is no such version of the guidelines."))
    return found


def told_text(session: Session, project: Project) -> str:
    """The guidelines in force as the reader is shown them."""
    return told_guidelines(guideline(session, project).text)


def checked(text: Any) -> str:
    """The guidelines as they are stored. Raises Unusable."""
    return trimmed(plain_text(text, MAX_GUIDELINES).replace("\r\n", "\n"))


def write(session: Session, project: Project, text: str, by: int | None, seen: int | None = None) -> bool:
    """Store checked guidelines as a new version, unless they are those in force; whether there is one.

    `seen` is the version the person started from. Raises Conflict where somebody saved a newer one meanwhile,
    and where there are as many as there can be.
    """
    hold(session, project)
    in_force = guideline(session, project).text
    if text == in_force or (is_shipped(text) and is_shipped(in_force)):
        return False
    if seen not in (None, project.guideline_version):
        newer = _("Version %(number)s is newer than the one you started from.", number=project.guideline_version)
        raise Conflict(
            _(
                "Somebody saved other guidelines while you were writing. Nothing of yours was saved; compare it "
                "with theirs first."
            ),
            {"guidelines": newer},
        )
    if project.guideline_version >= MOST_VERSIONS:
        raise Conflict(
            _("These guidelines have %(most)s versions, and that is the most there can be.", most=number(MOST_VERSIONS))
        )
    project.guideline_version += 1
    session.add(Guideline(project_id=project.id, version=project.guideline_version, text=text, created_by=by))
    return True


def edit(session: Session, project: Project, text: str, by: int | None, seen: int | None) -> None:
    """What the editor saves: checked, written, audited. Raises Invalid and Conflict."""
    try:
        clean = checked(text)
    except Unusable as problem:
        raise Invalid(_("The guidelines cannot be used. Nothing was changed."), {"guidelines": str(problem)}) from None
    if write(session, project, clean, by, seen):
        audit.record(session, by, "project.changed", project.slug, {"fields": ["guidelines"]}, project.id)
    session.flush()


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
    before = told_guidelines(guideline(session, project, since).text)
    after = told_guidelines(guideline(session, project, version).text)
    names = _("Version %(number)s", number=since), _("Version %(number)s", number=version)
    return Change(since, version, changed_lines(before, after), unified(before, after, names))


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
