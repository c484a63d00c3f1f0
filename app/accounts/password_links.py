"""Password links: single-use links by which an admin lets somebody who forgot their password choose a new one."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from app.accounts.rights import administered_by, lock_maker
from app.accounts.service import change_password, get_user, revoke_links
from app.accounts.who_is_out import end_what_was_made
from app.database.audit import record
from app.errors import Gone, NotAllowed, NotFound
from app.language.languages import N_, _
from app.models import Membership, PasswordLink, User, utc_now
from app.web.security import Principal, digest, new_secret

PASSWORD_LINK_HOURS = 24

_GONE = N_("This link has been used, replaced or has run out. Ask whoever sent it for a new one.")


def make_link(session: Session, project_id: int, user_id: int, by: Principal) -> str:
    """A fresh link for a member of the project; links made for them before stop working. Returns its token, stored nowhere.

    Whoever sets a password becomes that person, so an admin may do this only for somebody who is nothing where the admin is no
    admin: not the owner, and in no other admin's project. Raises NotFound and NotAllowed.
    """
    lock_maker(session, by)
    if by.project_ids is not None:
        raise NotAllowed(_("A key that is bound to projects makes no password links: their person may belong to others, too."))
    if user_id == by.user_id:
        raise NotAllowed(_("Change your own password on your account page."))
    membership = select(Membership.id).where(Membership.project_id == project_id, Membership.user_id == user_id)
    if session.scalar(membership) is None:
        raise NotFound(_("This person is not a member of the project."))
    user = get_user(session, user_id)
    if user.password_hash is None:
        raise NotAllowed(_("This account belongs to a program. It signs in with keys and has no password."))
    if not by.is_owner and (user.is_owner or _belongs_elsewhere(session, user_id, by)):
        raise NotAllowed(
            _(
                "This person also belongs to projects that you are not an admin of. Only the owner can make a password "
                "link for them."
            )
        )
    revoke_links(session, user_id)
    token = new_secret()
    session.add(
        PasswordLink(
            token_hash=digest(token),
            user_id=user_id,
            created_by=by.user_id,
            expires_at=utc_now() + timedelta(hours=PASSWORD_LINK_HOURS),
        )
    )
    record(session, by.user_id, "password_link.made", f"user {user_id}", None, project_id)
    session.flush()
    return token


def _belongs_elsewhere(session: Session, user_id: int, by: Principal) -> bool:
    elsewhere = exists().where(Membership.user_id == user_id, Membership.project_id.not_in(administered_by(by.user_id)))
    return bool(session.scalar(select(elsewhere)))


def whose(session: Session, token: str) -> User:
    """The person the link is for. Raises Gone unless it still opens; which of the reasons it is stays unsaid."""
    user = session.scalar(
        select(User)
        .join(PasswordLink, PasswordLink.user_id == User.id)
        .where(
            PasswordLink.token_hash == digest(token),
            PasswordLink.used_at.is_(None),
            PasswordLink.revoked_at.is_(None),
            PasswordLink.expires_at > utc_now(),
            User.disabled_at.is_(None),
        )
    )
    if user is None:
        raise Gone(_(_GONE))
    return user


def use_link(session: Session, token: str, password_hash: str, *, keep: bool = False) -> int:
    """Set the password, end every session of the person, and the link. Returns the person's id. Raises Gone.

    What they had made ends, too, unless they `keep` it: somebody else may have known the password.
    """
    user = whose(session, token)
    used = session.execute(
        update(PasswordLink)
        .where(PasswordLink.token_hash == digest(token), PasswordLink.used_at.is_(None), PasswordLink.revoked_at.is_(None))
        .values(used_at=utc_now())
        .returning(PasswordLink.id)
    ).one_or_none()
    if used is None:  # somebody else used it in the same moment
        raise Gone(_(_GONE))
    change_password(session, user.id, password_hash)
    if not keep:
        end_what_was_made(session, user.id, user.id)
    return user.id
