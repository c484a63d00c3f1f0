"""Deciding that a project goes for good: what that would take, and the mark after which nobody sees it any more.

The mark is one short transaction; `taking_out` removes the rows and files behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.errors import Conflict, Invalid
from app.language.languages import _
from app.models import Checkpoint, Generation, Invitation, Label, Membership, Project, Prompt, Run, utc_now
from app.models.values import name_digest
from app.removal.archive import cancel_runs
from app.runs.run_files import run_folder, texts_folder
from app.runs.runs import LIVE


@dataclass(frozen=True)
class Consequences:
    """What goes with a project."""

    people: int  # who lose it
    prompts: int
    answers: int
    labels: int
    checkpoints: int
    live_runs: int  # which are cancelled
    folders: int  # of runs, with their checkpoints
    octets: int  # in them, and in the project's texts


def consequences(session: Session, data: Path, project: Project) -> Consequences:
    """What deleting would take, before anybody decides."""
    run_ids = session.scalars(select(Run.id).where(Run.project_id == project.id)).all()
    folders = [folder for run_id in run_ids if (folder := run_folder(data / "runs", run_id)).is_dir()]
    return Consequences(
        people=_count(session, select(Membership.id).where(Membership.project_id == project.id)),
        prompts=_count(session, select(Prompt.id).where(Prompt.project_id == project.id)),
        answers=_count(session, select(Generation.id).join(Prompt).where(Prompt.project_id == project.id)),
        labels=_count(session, select(Label.id).where(Label.project_id == project.id, Label.current)),
        checkpoints=_count(session, select(Checkpoint.id).where(Checkpoint.project_id == project.id)),
        live_runs=_count(session, select(Run.id).where(Run.project_id == project.id, Run.state.in_(LIVE))),
        folders=len(folders),
        octets=sum(_octets(folder) for folder in (*folders, texts_folder(data, project.slug))),
    )


def delete_project(session: Session, data: Path, project: Project, typed_name: str, by: int | None, taken: Consequences) -> None:
    """From now on the project does not exist for anybody. `taken` was counted before: nobody waits for that.

    What computes for it is cancelled. Its id stays taken, so that what the audit trail says of it is never said of another;
    its name is free at once. Raises Invalid when the name that was typed is another, and Conflict while a model in its run
    folders is the base of another project.
    """
    session.refresh(project, with_for_update=True)
    if name_digest(typed_name) != project.name_digest:
        raise Invalid(
            _("That is not the name of this project. Nothing was deleted."),
            {"name": _("Type “%(name)s” to delete it.", name=project.name)},
        )
    _refuse_base_of_others(session, data, project)
    cancel_runs(session, project, by)
    session.execute(delete(Membership).where(Membership.project_id == project.id))
    session.execute(delete(Invitation).where(Invitation.project_id == project.id))
    project.deleted_at = utc_now()
    project.archived_at = project.archived_at or project.deleted_at
    project.name_digest = f"deleted {project.id}"
    project.triggers_on = False
    details = {"name": project.name, "prompts": taken.prompts, "labels": taken.labels, "checkpoints": taken.checkpoints}
    record(session, by, "project.deleted", project.slug, details, project.id)
    session.flush()


def _refuse_base_of_others(session: Session, data: Path, project: Project) -> None:
    runs = (data / "runs").resolve()
    others = select(Project.base_model).where(Project.id != project.id, Project.deleted_at.is_(None))
    for base in session.scalars(others):
        within = Path(base)
        if not within.is_absolute() or not within.is_relative_to(runs):
            continue
        number = within.relative_to(runs).parts[0]
        run = session.get(Run, int(number)) if number.isascii() and number.isdigit() else None
        if run is not None and run.project_id == project.id:
            raise Conflict(
                _(
                    "Another project's base model is what run %(number)s of this one made. Delete that project first, or copy "
                    "the model to a folder of its own.",
                    number=run.id,
                )
            )


def _count(session: Session, rows: Select[int]) -> int:
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0


def _octets(folder: Path) -> int:
    return sum(path.stat(follow_symlinks=False).st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for place, _folders, names in os.walk(folder):
        yield from (Path(place) / name for name in names)
