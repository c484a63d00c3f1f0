"""Pausing somebody who misses too many known answers: a test that may be looked at after each, and is rarely wrong.

Careful people miss some: up to `MISSED` of them is theirs to miss. Somebody bets, at fair odds, that a person misses more; as
long as they do not, the capital grows on average not at all, and it ever reaches 1 / `ERROR` with a probability of at most
`ERROR`, however often it is looked at (Ville 1939; the bets are those of `app/evaluation/sequence.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict
from app.evaluation.sequence import Capital, Value
from app.labels.withdraw import still_stands
from app.language.languages import _
from app.models import Check, Gold, Label, Membership, Project, User, utc_now

MISSED: Final = 0.25  # of known answers: so many, careful people may miss
ERROR: Final = 0.005  # that somebody who misses no more is ever paused
NEAR: Final = 1  # a rating so far from the known one is right


def should_pause(missed: Sequence[bool]) -> bool:
    """Whether these, in the order in which they were answered, say that somebody misses more than careful people."""
    capital = Capital(MISSED)
    return any(float(capital.bet(Value(float(one)))) >= 1.0 / ERROR for one in missed)


def who_misses(session: Session, project: Project, user_ids: Sequence[int]) -> list[int]:
    """Those of these people whom it is time to pause."""
    if not project.gold_pauses:
        return []
    mine = (Membership.project_id == project.id, Membership.user_id.in_(user_ids), Membership.paused_at.is_(None))
    members = session.scalars(select(Membership).where(*mine)).all()
    return [member.user_id for member in members if should_pause(_missed(session, project.id, member))]


def paused_people(session: Session, project_id: int) -> int:
    """How many are asked nothing at present."""
    paused = select(func.count()).where(Membership.project_id == project_id, Membership.paused_at.is_not(None))
    return session.scalar(paused) or 0


def pause(session: Session, project: Project, user_id: int) -> None:
    """They are asked nothing further, and what they hold they may still answer. The project is held."""
    if user_id not in who_misses(session, project, [user_id]):
        return  # an admin let them go on meanwhile
    member = session.scalars(select(Membership).where(Membership.project_id == project.id, Membership.user_id == user_id)).one()
    missed = _missed(session, project.id, member)
    member.paused_at = utc_now()
    about = {"missed": sum(missed), "asked": len(missed)}
    record(session, None, "person.paused", session.get_one(User, user_id).name, about, project.id)
    session.flush()


def resume(session: Session, project: Project, user_id: int, by: int) -> None:
    """They go on, and known answers missed before that count no more. Raises Conflict where they are not paused."""
    hold(session, project)
    paused = select(Membership).where(Membership.project_id == project.id, Membership.user_id == user_id)
    member = session.scalar(paused.where(Membership.paused_at.is_not(None)))
    if member is None:
        raise Conflict(_("This person is not paused."))
    member.paused_at, member.resumed_at = None, utc_now()
    record(session, by, "person.resumed", session.get_one(User, user_id).name, {}, project.id)
    session.flush()


def _missed(session: Session, project_id: int, member: Membership) -> list[bool]:
    """Known answers since they were last let go on; the first verdict counts, and one taken back does not."""
    query = (
        select(Gold, Label)
        .join(Check, Check.gold_id == Gold.id)
        .join(Label, Label.task_id == Check.task_id)
        .where(Check.project_id == project_id, Check.annotator_id == member.user_id)
        .where(Label.annotator_id == member.user_id, Label.version == 1, still_stands(Label))
        .order_by(Label.id)
    )
    if member.resumed_at is not None:
        query = query.where(Label.created_at > member.resumed_at)
    return [not is_right(gold, label) for gold, label in session.execute(query)]


def is_right(gold: Gold, label: Label) -> bool:
    if gold.overall is not None:
        return label.overall is not None and abs(label.overall - gold.overall) <= NEAR
    if gold.choice in ("tie", "both_bad"):
        return label.choice == gold.choice
    chosen = {"left": label.left_generation_id, "right": label.right_generation_id}.get(label.choice or "")
    return chosen == (gold.first_generation_id if gold.choice == "first" else gold.second_generation_id)
