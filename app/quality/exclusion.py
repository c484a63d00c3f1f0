"""Withdrawing a person's labels from training, in one step: they stay, leave the next data set, and can come back.

It is no withdrawal of a verdict (`app/labels/withdraw.py`), which is its author's: nothing of the labels changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, NotFound
from app.language.languages import _
from app.models import Exclusion, Label, Project, Round, Run, User
from app.runs.lineage.label_index import labels_of
from app.runs.run_files import run_folder


@dataclass(frozen=True, slots=True)
class Learned:
    """A round that learned from this person."""

    round: Round
    theirs: int
    labels: int  # it learned from in all


def exclude(session: Session, project: Project, user_id: int, reason: str, by: int) -> Exclusion:
    """From now on no run learns from their labels, those to come too. Raises NotFound, or Conflict where it is so already."""
    hold(session, project)
    if session.scalar(select(Label.id).where(Label.annotator_id == user_id, Label.project_id + 0 == project.id).limit(1)) is None:
        raise NotFound(_("This person has judged nothing here yet."))
    if _of(session, project.id, user_id) is not None:
        raise Conflict(_("Their labels are withdrawn from training already."))
    found = Exclusion(project_id=project.id, user_id=user_id, reason=reason.strip(), created_by=by)
    session.add(found)
    name = session.get_one(User, user_id).name
    record(session, by, "labels.excluded", name, {"reason": found.reason} if found.reason else {}, project.id)
    session.flush()
    return found


def include(session: Session, project: Project, user_id: int, by: int) -> None:
    """Their labels train again. Raises Conflict where they do."""
    hold(session, project)
    if _of(session, project.id, user_id) is None:
        raise Conflict(_("Their labels train already."))
    session.execute(delete(Exclusion).where(Exclusion.project_id == project.id, Exclusion.user_id == user_id))
    record(session, by, "labels.included", session.get_one(User, user_id).name, {}, project.id)
    session.flush()


def _of(session: Session, project_id: int, user_id: int) -> Exclusion | None:
    return session.scalar(select(Exclusion).where(Exclusion.project_id == project_id, Exclusion.user_id == user_id))


def learned_from(session: Session, project_id: int, user_id: int, runs: Path) -> list[Learned]:
    """The rounds whose frozen labels hold some of this person's, the newest first."""
    rows = session.execute(
        select(Round, Run.id)
        .join(Run, Run.round_id == Round.id)
        .where(Round.project_id == project_id, Run.label_digest.is_not(None))
        .order_by(Round.number.desc(), Run.id)
    ).all()
    ids = session.scalars(select(Label.id).where(Label.project_id + 0 == project_id, Label.annotator_id == user_id)).all()
    found: dict[int, Learned] = {}
    for round_, run_id in rows:
        frozen = labels_of(run_folder(runs, run_id))
        theirs = frozen.count(ids)
        if theirs and (round_.id not in found or theirs > found[round_.id].theirs):
            found[round_.id] = Learned(round_, theirs, len(frozen))
    return list(found.values())
