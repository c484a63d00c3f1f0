"""The one rule of who writes into a project, which no constraint can say: it is open, and stays so while they do."""

from __future__ import annotations

from sqlalchemy import Connection, select

from app.errors import Archived, NotFound
from app.language.languages import _
from app.models.projects import Project


def require_open(connection: Connection, project_id: int) -> None:
    """Keeps the project as it is until the transaction ends. Raises Archived, or NotFound once it is deleted.

    Rows that point to it (a verdict) are written meanwhile.
    """
    now = select(Project.archived_at, Project.deleted_at).where(Project.id == project_id)
    found = connection.execute(now.with_for_update(key_share=True)).one_or_none()
    if found is None or found.deleted_at is not None:
        raise NotFound(_("There is no such project."))
    if found.archived_at is not None:
        raise Archived
