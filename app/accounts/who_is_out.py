"""Who is out stays out: the one list of what somebody can leave behind, and what of it ends when.

Sessions, password links, keys, keys that keys minted, keys made for others, invitations that are still open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from app.accounts.rights import administered_by, lock_person, may_act_as
from app.accounts.service import close_sessions, revoke_links
from app.database.audit import record
from app.models import ApiKey, Invitation, Membership, User, utc_now


@dataclass(frozen=True)
class LeftOpen:
    """What still works that a person made: keys of their own and for others, and invitations nobody has used."""

    keys: int
    invitations: int

    def __bool__(self) -> bool:
        return bool(self.keys or self.invitations)


def left_open(session: Session, user_id: int) -> LeftOpen:
    return LeftOpen(
        keys=session.scalar(select(func.count(ApiKey.id)).where(*_live_keys(), _theirs(user_id))) or 0,
        invitations=session.scalar(select(func.count(Invitation.id)).where(*_open_invitations(user_id))) or 0,
    )


def end_all(session: Session, user_id: int, by: int | None) -> None:
    """Somebody else may know their secrets, or they are to be out: all of it ends."""
    lock_person(session, user_id)
    close_sessions(session, user_id, by=by)
    end_what_was_made(session, user_id, by)


def end_what_was_made(session: Session, user_id: int, by: int | None) -> None:
    """All of it but the sessions."""
    lock_person(session, user_id)
    revoke_links(session, user_id)
    end_keys(session, by, user_id, _theirs(user_id))
    _end_invitations(session, user_id, by)


def end_what_is_no_longer_theirs(session: Session, user_id: int, by: int | None) -> None:
    """After a removal, a demotion, the end of an ownership: what they made with rights they no longer have."""
    session.flush()
    person = lock_person(session, user_id)
    revoke_links(session, user_id)
    end_keys(session, by, user_id, ApiKey.made_by == user_id, ApiKey.parent_id.is_not(None))
    served = select(ApiKey.user_id).where(ApiKey.made_by == user_id, *_live_keys())
    others = session.scalars(select(User).where(User.id != user_id, User.id.in_(served)))
    lost = [other.id for other in others if not may_act_as(session, other, person)]
    end_keys(session, by, user_id, ApiKey.made_by == user_id, ApiKey.user_id.in_(lost))
    if not person.is_owner:
        end_keys(session, by, user_id, ApiKey.id.in_(_bound_elsewhere(session, user_id)))
        _end_invitations(session, user_id, by, Invitation.project_id.not_in(administered_by(user_id)))


def end_keys(session: Session, by: int | None, about: int, *which: ColumnElement[bool]) -> list[int]:
    """End these keys, and what they minted, and what that minted; returns their ids.

    Level by level: a key that is minting at this moment waits for its parent's row, or has already left a child to be found.
    """
    ended: list[int] = []
    level = _revoke(session, which)
    while level:
        ended += level
        level = _revoke(session, [ApiKey.parent_id.in_(level)])
    if ended:
        record(session, by, "keys.ended", f"user {about}", {"keys": [f"tm_{key_id}" for key_id in sorted(ended)]})
    return ended


def _revoke(session: Session, which: Iterable[ColumnElement[bool]]) -> list[int]:
    revoked = update(ApiKey).where(ApiKey.revoked_at.is_(None), *which).values(revoked_at=utc_now()).returning(ApiKey.id)
    return list(session.scalars(revoked.execution_options(synchronize_session=False)))


def _bound_elsewhere(session: Session, user_id: int) -> Collection[int]:
    """The keys of this person that are bound to projects of which none is theirs any more."""
    theirs = set(session.scalars(select(Membership.project_id).where(Membership.user_id == user_id)))
    bound = session.execute(select(ApiKey.id, ApiKey.project_ids).where(ApiKey.user_id == user_id, *_live_keys()))
    return [key_id for key_id, project_ids in bound if project_ids is not None and not theirs & set(project_ids)]


def _theirs(user_id: int) -> ColumnElement[bool]:
    return or_(ApiKey.user_id == user_id, ApiKey.made_by == user_id)


def _live_keys() -> Sequence[ColumnElement[bool]]:
    return (ApiKey.revoked_at.is_(None), ApiKey.expires_at > utc_now())


def _open_invitations(user_id: int) -> Sequence[ColumnElement[bool]]:
    mine = (Invitation.created_by == user_id, Invitation.used_at.is_(None), Invitation.revoked_at.is_(None))
    return (*mine, Invitation.expires_at > utc_now())


def _end_invitations(session: Session, user_id: int, by: int | None, *which: ColumnElement[bool]) -> None:
    ended = session.execute(
        update(Invitation)
        .where(*_open_invitations(user_id), *which)
        .values(revoked_at=utc_now())
        .returning(Invitation.id, Invitation.project_id)
    ).all()
    for invitation_id, project_id in ended:
        record(session, by, "invitation.withdrawn", f"invitation {invitation_id}", None, project_id)
