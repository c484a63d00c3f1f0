"""People and their sign-ins: accounts, passwords, sessions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from sqlalchemy import case, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from app.database.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.language.languages import N_, _
from app.models import Membership, PasswordLink, Project, SignInSession, User, utc_now
from app.texts.invisible import has_invisible, shows_nothing
from app.web.security import SESSION_DAYS, Role, digest, new_secret

HALF_MINUTES = 10  # between the password and the code
MOST_SESSIONS = 100  # kept of one person, with those that have ended
MOST_HALF = 10  # of those that still owe a code: whoever learned the password alone may open these, and ends no other

WRONG_SIGN_IN = N_("That email and password do not belong together. Check both and try again.")

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,250}")


@dataclass(frozen=True)
class Place:
    """A project someone belongs to."""

    slug: str
    name: str
    role: Role


def clean_email(email: str) -> str:
    """As stored: casefolded, no spaces around, letters that Unicode holds for one written as one.

    Raises Invalid for what is no address, and for characters nobody sees: they would make a second account of one address.
    """
    email = unicodedata.normalize("NFKC", email.strip()).casefold()
    if has_invisible(email) or not _EMAIL.fullmatch(email):
        raise Invalid(_("That is not an email address."), {"email": _("Write it like name@example.org.")})
    return email


def clean_name(name: str) -> str:
    name = " ".join(name.split())
    if shows_nothing(name):
        raise Invalid(_("Please say what you would like to be called."), {"name": _("Write a name.")})
    return name[:200]


def find_user(session: Session, email: str) -> User | None:
    """By the address as it is stored, and as it was stored before letters that are one were written as one."""
    typed = email.strip().casefold()
    alike = unicodedata.normalize("NFKC", email.strip()).casefold()
    found = session.scalars(select(User).where(User.email.in_({typed, alike})).order_by(User.id)).all()
    return next((user for user in found if user.email == typed), found[0] if found else None)


def get_user(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise NotFound(_("There is no such person."))
    return user


def add_user(session: Session, name: str, email: str, password_hash: str | None) -> User:
    """A new person. Raises Conflict when the address is taken."""
    email = clean_email(email)
    if find_user(session, email) is not None:
        raise Conflict(
            _("There is already an account with this email. Sign in with it instead."), {"email": _("This address is taken.")}
        )
    user = User(name=clean_name(name), email=email, password_hash=password_hash)
    session.add(user)
    session.flush()
    return user


def change_profile(session: Session, user_id: int, name: str, email: str) -> None:
    """A person's own name and email. Raises Invalid, and Conflict for an address that is taken."""
    user, name, email = get_user(session, user_id), clean_name(name), clean_email(email)
    if email != user.email:
        if find_user(session, email) is not None:
            raise Conflict(_("There is already an account with this email."), {"email": _("This address is taken.")})
        record(session, user_id, "email.changed", f"user {user_id}")
        user.email = email
    if name != user.name:
        record(session, user_id, "name.changed", f"user {user_id}", {"from": user.name, "to": name})
        user.name = name
    session.flush()


def set_language(session: Session, user_id: int, language: str) -> None:
    """The language this person reads, in every browser; `language` is a tag of `app.language.languages`."""
    get_user(session, user_id).language = language


def revoke_links(session: Session, user_id: int) -> None:
    """End the open password links for this person, and those they made: what allowed them may no longer hold."""
    session.execute(
        update(PasswordLink)
        .where(or_(PasswordLink.user_id == user_id, PasswordLink.created_by == user_id))
        .where(PasswordLink.used_at.is_(None), PasswordLink.revoked_at.is_(None))
        .values(revoked_at=utc_now())
    )


def add_member(session: Session, user_id: int, project_id: int, role: Role) -> None:
    """Who joins begins with the guidelines in force: only later ones are news to them."""
    revoke_links(session, user_id)
    version = session.get_one(Project, project_id).guideline_version
    session.add(Membership(user_id=user_id, project_id=project_id, role=role, seen_guideline_version=version))


def places_of(session: Session, user_id: int, among: Collection[int] | None = None) -> list[Place]:
    """The person's projects. `among`: the ids of the only ones that a key finds."""
    wanted = (
        select(Project.slug, Project.name, Membership.role)
        .join(Membership, Membership.project_id == Project.id)
        .where(Membership.user_id == user_id)
        .order_by(Project.name)
    )
    rows = session.execute(wanted if among is None else wanted.where(Project.id.in_(among)))
    return [Place(slug, name, cast(Role, role)) for slug, name, role in rows]


# Sessions


@dataclass(frozen=True)
class Opened:
    """What the browser alone keeps: the session's id, and what tells the browser from a stranger's when that has ended."""

    secret: str
    device: str


def open_session(
    session: Session, user_id: int, user_agent: str, replaces: str | None = None, device: str = "", address: str = ""
) -> Opened:
    """A fresh session. `replaces` is the id the browser had before; it ends. `device` is what it had kept.

    That is kept on only where somebody signed in with it: what another put there would tell them apart no longer.
    """
    if replaces:
        _revoke(session, SignInSession.id_hash == digest(replaces))
    secret = new_secret()
    if not (device and session.scalar(select(exists().where(SignInSession.device_hash == digest(device))))):
        device = new_secret()
    session.add(
        SignInSession(
            id_hash=digest(secret),
            user_id=user_id,
            expires_at=utc_now() + timedelta(days=SESSION_DAYS),
            user_agent=user_agent[:300],
            device_hash=digest(device),
        )
    )
    record(session, user_id, "session.opened", f"user {user_id}", {"browser": user_agent[:100], "address": address})
    session.flush()
    _forget_longest_unused(session, user_id)
    return Opened(secret, device)


def open_half(session: Session, user_id: int, replaces: str | None = None) -> str:
    """The id of a session that lets nobody in: its person gave the right password and owes a code."""
    if replaces:
        _revoke(session, SignInSession.id_hash == digest(replaces))
    secret = new_secret()
    ends = utc_now() + timedelta(minutes=HALF_MINUTES)
    session.add(SignInSession(id_hash=digest(secret), user_id=user_id, expires_at=ends, waits_for_code=True))
    session.flush()
    _forget_longest_unused(session, user_id)
    return secret


def _forget_longest_unused(session: Session, user_id: int) -> None:
    """Of each kind of a person's sessions the latest are kept, ended ones last: with a password one can sign in all day."""
    ended = or_(SignInSession.revoked_at.is_not(None), SignInSession.expires_at <= utc_now())
    for half, most in ((False, MOST_SESSIONS), (True, MOST_HALF)):
        kept = select(SignInSession.id_hash).where(SignInSession.user_id == user_id, SignInSession.waits_for_code.is_(half))
        kept = kept.order_by(case((ended, 1), else_=0), SignInSession.last_seen_at.desc()).offset(most)
        session.execute(delete(SignInSession).where(SignInSession.id_hash.in_(kept)))


def who_waits(session: Session, secret: str) -> int | None:
    """Whom such a session is of, while it lasts."""
    return session.scalar(
        select(SignInSession.user_id)
        .join(User, User.id == SignInSession.user_id)
        .where(SignInSession.id_hash == digest(secret), SignInSession.waits_for_code, SignInSession.revoked_at.is_(None))
        .where(SignInSession.expires_at > utc_now(), User.disabled_at.is_(None))
    )


def close_session(session: Session, user_id: int, id_hash: str) -> None:
    """End one session of this person; one that is not theirs, or has ended, stays as it is."""
    _revoke(session, SignInSession.id_hash == id_hash, SignInSession.user_id == user_id)
    record(session, user_id, "session.closed", f"user {user_id}")


def close_sessions(session: Session, user_id: int, by: int | None, *, keep: str = "") -> None:
    """End every session of this person but the one whose hash is `keep`."""
    _revoke(session, SignInSession.user_id == user_id, SignInSession.id_hash != keep)
    record(session, by, "sessions.closed", f"user {user_id}")


def open_sessions(session: Session, user_id: int) -> Sequence[SignInSession]:
    """The sessions that would still let this person in, the last used first."""
    return session.scalars(
        select(SignInSession)
        .where(SignInSession.user_id == user_id, SignInSession.revoked_at.is_(None), SignInSession.expires_at > utc_now())
        .where(SignInSession.waits_for_code.is_(False))
        .order_by(SignInSession.last_seen_at.desc())
        .limit(100)
    ).all()


def change_password(session: Session, user_id: int, password_hash: str) -> None:
    """Set the password and end every session: whoever had found out the old one is out."""
    get_user(session, user_id).password_hash = password_hash
    close_sessions(session, user_id, by=user_id)
    revoke_links(session, user_id)
    record(session, user_id, "password.changed", f"user {user_id}")
    session.flush()


def _revoke(session: Session, *which: object) -> None:
    session.execute(
        update(SignInSession).where(SignInSession.revoked_at.is_(None), *which).values(revoked_at=utc_now())  # type: ignore[arg-type]
    )


def names_of(session: Session, user_ids: Iterable[int | None]) -> dict[int, str]:
    """Names by id."""
    ids = {user_id for user_id in user_ids if user_id is not None}
    return {user.id: user.name for user in session.scalars(select(User).where(User.id.in_(ids)))} if ids else {}
