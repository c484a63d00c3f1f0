"""A project's people as judges: their figures, whether they are paused, and whether their labels train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.language.languages import _
from app.models import Exclusion, Membership
from app.quality.measures.figure import NOTHING
from app.quality.report import Person
from app.quality.service import Told

# What counts checks alone, or moves with each label but a check's, whoever else judged: who saw it of themselves would know after
# each task whether it was a check. How many labels there are and how long each took is counted of all alike, and tells nothing.
TELLS_CHECKS: Final = ("steady", "gold", "discrimination", "left", "longer", "ties")


@dataclass(frozen=True, slots=True)
class Standing:
    name: str
    figures: Person
    paused_at: datetime | None
    exclusion: Exclusion | None
    is_viewer: bool

    @property
    def left_out(self) -> tuple[str, ...]:
        """The figures that are not shown, which is not to say that nothing is known."""
        return TELLS_CHECKS if self.is_viewer else ()

    @property
    def user_id(self) -> int:
        return self.figures.user_id


def people_of(session: Session, project_id: int, found: Told, viewer: int) -> list[Standing]:
    """By name: nobody is ranked. Of the viewer's own figures those are empty that would show which task was a check."""
    paused = dict(
        session.execute(select(Membership.user_id, Membership.paused_at).where(Membership.project_id == project_id)).all()
    )
    excluded = {one.user_id: one for one in session.scalars(select(Exclusion).where(Exclusion.project_id == project_id))}
    standings = [
        Standing(
            found.names[one.user_id],
            _for_themselves(one) if one.user_id == viewer else one,
            paused.get(one.user_id),
            excluded.get(one.user_id),
            one.user_id == viewer,
        )
        for one in found.report.people
    ]
    return sorted(standings, key=lambda one: (one.name.casefold(), one.user_id))


def person_of(session: Session, project_id: int, found: Told, user_id: int, viewer: int) -> Standing:
    """Raises NotFound for somebody who has judged nothing here."""
    for one in people_of(session, project_id, found, viewer):
        if one.user_id == user_id:
            return one
    raise NotFound(_("This person has judged nothing here yet."))


def _for_themselves(one: Person) -> Person:
    empty: dict[str, Any] = dict.fromkeys(TELLS_CHECKS, NOTHING)
    return replace(one, decides={}, **empty)
