"""A project's people as judges: their figures, whether they are paused, and whether their labels train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.language.languages import _
from app.models import Exclusion, Membership
from app.quality.measures.figure import NOTHING
from app.quality.report import Person
from app.quality.service import Told


@dataclass(frozen=True, slots=True)
class Standing:
    name: str
    figures: Person
    paused_at: datetime | None
    exclusion: Exclusion | None

    @property
    def user_id(self) -> int:
        return self.figures.user_id


def people_of(session: Session, project_id: int, found: Told, viewer: int) -> list[Standing]:
    """By name: nobody is ranked. What checks say of the viewer is told on no page: each would show which task was one."""
    paused = dict(
        session.execute(select(Membership.user_id, Membership.paused_at).where(Membership.project_id == project_id)).all()
    )
    excluded = {one.user_id: one for one in session.scalars(select(Exclusion).where(Exclusion.project_id == project_id))}
    shown = [replace(one, steady=NOTHING, gold=NOTHING) if one.user_id == viewer else one for one in found.report.people]
    standings = [Standing(found.names[one.user_id], one, paused.get(one.user_id), excluded.get(one.user_id)) for one in shown]
    return sorted(standings, key=lambda one: (one.name.casefold(), one.user_id))


def person_of(session: Session, project_id: int, found: Told, user_id: int, viewer: int) -> Standing:
    """Raises NotFound for somebody who has judged nothing here."""
    for one in people_of(session, project_id, found, viewer):
        if one.user_id == user_id:
            return one
    raise NotFound(_("This person has judged nothing here yet."))
