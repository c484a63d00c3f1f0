"""A project's name and address. Two projects may not have one name, and the database has the last word on it."""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.language.languages import _
from app.models import Project
from app.models.values import name_digest

RESERVED_SLUGS = frozenset({"new", "archived"})  # pages of their own under /projects/
TRIES = 20  # at an address that others take at the same moment


def check_free(session: Session, name: str, besides: Project | None = None) -> None:
    """Raises Conflict, with the sentence for the field, when another project has this name."""
    same = select(Project.id).where(Project.name_digest == name_digest(name))
    if besides is not None:
        same = same.where(Project.id != besides.id)
    if session.scalar(same.limit(1)) is not None:
        raise Conflict(
            _("There is a project with this name already. Nothing was saved."),
            {"name": _("Another project has this name; capitals, spaces and invisible signs make no difference.")},
        )


def store_new(session: Session, project: Project) -> None:
    """Store a project under its name and a free address. Raises Conflict for a name that is taken, however late."""
    for _try in range(TRIES):
        check_free(session, project.name)
        project.slug = _free_slug(session, project.name)
        if _stored(session, project):
            return
    raise Conflict(_("Others are making projects at this moment. Nothing was saved; please try again."))


def store_renamed(session: Session, project: Project) -> None:
    """Store a project that may have a new name. Raises Conflict when somebody else took it in this moment."""
    name = project.name
    if not _stored(session, project):
        check_free(session, name, project)
        raise Conflict(_("Others are changing projects at this moment. Nothing was saved; please try again."))


def _stored(session: Session, project: Project) -> bool:
    """Whether its name and address were free: of two that come at the same time the database takes one."""
    try:
        with session.begin_nested():
            session.add(project)
            session.flush()
    except IntegrityError:
        return False
    return True


def _free_slug(session: Session, name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:60].strip("-") or "project"
    taken = set(session.scalars(select(Project.slug).where(Project.slug.startswith(stem)))) | RESERVED_SLUGS
    number, slug = 1, stem
    while slug in taken:
        number += 1
        slug = f"{stem}-{number}"
    return slug
