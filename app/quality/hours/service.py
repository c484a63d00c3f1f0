"""Active time per person and day, from signs of work: tasks that were taken, judged, passed over.

From one sign to the next counts whole, up to `IDLE`: reading, thinking, looking something up. What is longer was a break, of
which counts what the page saw of somebody being there with the task (`active_ms`); a program's label, of which nothing is
known, counts as `IDLE`. A day is one where the server stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.labels.disputed import REVIEW
from app.language.languages import _
from app.models import Label, Seat, Skip, Task, User
from app.queue.conditions import NOT_SAID

IDLE: Final = timedelta(minutes=5)
MOST_DAYS: Final = 366
YEARS: Final = (2000, 2999)


class Sign(NamedTuple):
    """Something that somebody did. `active`: how long the page saw them at it; none: it does not know, or it is no verdict."""

    at: datetime
    active: timedelta | None = None
    judged: bool = False

    @property
    def order(self) -> tuple[datetime, bool]:
        """By time. Of two at one moment the verdict comes first: a seat taken as it was given says nothing more."""
        return self.at, not self.judged


@dataclass(frozen=True, slots=True)
class Worked:
    user_id: int
    name: str
    day: date
    active: timedelta
    labels: int  # verdicts, corrections among them

    @property
    def minutes(self) -> float:
        return round(self.active.total_seconds() / 60, 1)


def hours(session: Session, project_id: int, since: date, until: date) -> list[Worked]:
    """By day, the newest first, then by name; both days are included. Raises Invalid for no days, too many, or days of
    no year that anybody works in.
    """
    if since.year < YEARS[0] or until.year > YEARS[1]:
        first, last = map(str, YEARS)
        problem = _("Choose days in the years from %(first)s to %(last)s.", first=first, last=last)
        raise Invalid(problem, {"since" if since.year < YEARS[0] else "until": _("in no such year")})
    if not 0 <= (until - since).days < MOST_DAYS:
        raise Invalid(_("Choose up to %(most)s days, the first before the last.", most=MOST_DAYS), {"until": _("too far")})
    signs = _signs(session, project_id, _midnight(since), _midnight(until + timedelta(days=1)))
    names = dict(session.execute(select(User.id, User.name).where(User.id.in_(signs))).all())
    found = []
    for user_id, theirs in signs.items():
        for day, (active, labels) in by_day(theirs).items():
            found.append(Worked(user_id, names[user_id], day, active, labels))
    return sorted(found, key=lambda one: (-one.day.toordinal(), one.name, one.user_id))


def totals(worked: Iterable[Worked]) -> list[tuple[int, str, timedelta, int]]:
    """Of each person over all days, by name: id, name, time, labels."""
    found: dict[tuple[str, int], tuple[timedelta, int]] = defaultdict(lambda: (timedelta(), 0))
    for one in worked:
        active, labels = found[one.name, one.user_id]
        found[one.name, one.user_id] = (active + one.active, labels + one.labels)
    return [(user_id, name, *sums) for (name, user_id), sums in sorted(found.items())]


def by_day(signs: Sequence[Sign]) -> dict[date, tuple[timedelta, int]]:
    """One person's time and labels on each day."""
    found: dict[date, tuple[timedelta, int]] = {}
    ordered = sorted(signs, key=lambda sign: sign.order)
    rested = [Sign(ordered[0].at - 2 * IDLE)] if ordered else []  # before the first: a break
    for before, sign in pairwise(rested + ordered):
        active, labels = found.get(day := sign.at.astimezone().date(), (timedelta(), 0))
        found[day] = (active + _counts(sign, sign.at - before.at), labels + sign.judged)
    return found


def _counts(sign: Sign, since_last: timedelta) -> timedelta:
    if since_last <= IDLE or not sign.judged:
        return since_last if since_last <= IDLE else timedelta()
    return IDLE if sign.active is None else sign.active


def _signs(session: Session, project_id: int, since: datetime, until: datetime) -> dict[int, list[Sign]]:
    """By person."""
    found: dict[int, list[Sign]] = defaultdict(list)
    judged = select(Label.annotator_id, Label.created_at, Label.active_ms).where(Label.project_id == project_id)
    for user_id, at, active_ms in session.execute(judged.where(Label.created_at >= since, Label.created_at < until)):
        found[user_id].append(Sign(at, None if active_ms is None else timedelta(milliseconds=active_ms), judged=True))
    taken = select(Seat.annotator_id, Seat.claimed_at).where(Seat.project_id == project_id, Seat.annotator_id.is_not(None))
    taken = taken.where(~_settles(Seat))
    for person_id, claimed_at in session.execute(taken.where(Seat.claimed_at >= since, Seat.claimed_at < until)):
        if person_id is not None and claimed_at is not None:
            found[person_id].append(Sign(claimed_at))
    passed = select(Skip.annotator_id, Skip.created_at).join(Task, Task.id == Skip.task_id).where(Task.project_id == project_id)
    passed = passed.where(Skip.reason.not_in(NOT_SAID), Skip.created_at >= since, Skip.created_at < until)
    for user_id, at in session.execute(passed):
        found[user_id].append(Sign(at))
    return found


def _settles(seat: type[Seat]) -> ColumnElement[bool]:
    """Whether a reviewer got the seat by settling what people differ on: they took it with the verdict, and not before."""
    return exists().where(Label.seat_id == seat.id, Label.version == 1, Label.served_reason == REVIEW)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day).astimezone()
