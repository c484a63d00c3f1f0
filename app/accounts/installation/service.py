"""Deactivating a person, and handing the ownership on. There is always an owner who can sign in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from app.accounts.rights import lock_person
from app.accounts.who_is_out import end_all, end_what_is_no_longer_theirs
from app.database.audit import record
from app.errors import Conflict
from app.language.languages import _
from app.models import Membership, SecondFactor, SignInSession, User, utc_now


@dataclass(frozen=True)
class Somebody:
    """An account as the owner's list shows it."""

    id: int
    name: str
    email: str
    is_owner: bool
    is_program: bool  # without a password: works through keys
    active: bool
    has_second_factor: bool
    is_admin: bool  # of some project
    projects: int
    last_seen_at: datetime | None


def list_everybody(session: Session, find: str = "", before: int | None = None, limit: int = 100) -> list[Somebody]:
    """Every account, the newest first; `find`: part of a name or an address; `before`: the last id of the page before."""
    places = select(func.count(Membership.id)).where(Membership.user_id == User.id).scalar_subquery()
    seen = select(func.max(SignInSession.last_seen_at)).where(SignInSession.user_id == User.id).scalar_subquery()
    factor = exists().where(SecondFactor.user_id == User.id, SecondFactor.confirmed_at.is_not(None))
    admin = exists().where(Membership.user_id == User.id, Membership.role == "admin")
    extra = (places.label("places"), seen.label("seen"), factor.label("factor"), admin.label("admin"))
    wanted = select(User, *extra).order_by(User.id.desc()).limit(limit)
    if find.strip():
        part = find.strip()
        wanted = wanted.where(or_(User.name.icontains(part, autoescape=True), User.email.icontains(part, autoescape=True)))
    if before is not None:
        wanted = wanted.where(User.id < before)
    return [_somebody(row) for row in session.execute(wanted)]


def _somebody(row: Any) -> Somebody:
    user: User = row.User
    return Somebody(
        id=user.id,
        name=user.name,
        email=user.email,
        is_owner=user.is_owner,
        is_program=user.password_hash is None,
        active=user.disabled_at is None,
        has_second_factor=row.factor,
        is_admin=row.admin,
        projects=row.places,
        last_seen_at=row.seen,
    )


def owners(session: Session) -> Sequence[User]:
    """Those who can sign in as owner. Kept until the transaction ends: two of them cannot put each other out at once."""
    found = select(User).where(User.is_owner, User.disabled_at.is_(None), User.password_hash.is_not(None)).order_by(User.id)
    return session.scalars(found.with_for_update(key_share=True).execution_options(populate_existing=True)).all()


def deactivate(session: Session, user_id: int, by: int) -> None:
    """Nothing lets the person in any more, and what they made ends. Their roles and labels stay. Raises Conflict."""
    _refuse_without_owner(session, user_id)
    user = lock_person(session, user_id)
    if user.disabled_at is not None:
        return
    user.disabled_at = utc_now()
    end_all(session, user_id, by)
    record(session, by, "person.deactivated", f"user {user_id}")
    session.flush()


def reactivate(session: Session, user_id: int, by: int) -> None:
    """The person may sign in again and has the roles they had. What ended stays ended."""
    user = lock_person(session, user_id)
    if user.disabled_at is None:
        return
    user.disabled_at = None
    record(session, by, "person.reactivated", f"user {user_id}")
    session.flush()


def give_ownership(session: Session, user_id: int, by: int) -> None:
    """Raises Conflict for an account that cannot sign in."""
    user = lock_person(session, user_id)
    if user.password_hash is None or user.disabled_at is not None:
        raise Conflict(_("Only an active person who signs in with a password can own this installation."))
    if user.is_owner:
        return
    user.is_owner = True
    record(session, by, "ownership.given", f"user {user_id}")
    session.flush()


def take_ownership(session: Session, user_id: int, by: int) -> None:
    """The person keeps their roles in projects; what they made as an owner ends. Raises Conflict for the last owner."""
    _refuse_without_owner(session, user_id)
    user = lock_person(session, user_id)
    if not user.is_owner:
        return
    user.is_owner = False
    end_what_is_no_longer_theirs(session, user_id, by)
    record(session, by, "ownership.taken", f"user {user_id}")
    session.flush()


def _refuse_without_owner(session: Session, user_id: int) -> None:
    there = [user.id for user in owners(session)]
    if there == [user_id]:
        raise Conflict(_("This is the only owner. Make somebody else an owner first."))
