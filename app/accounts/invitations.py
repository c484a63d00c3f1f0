"""Invitations: single-use links with a fixed role. The owner's first link is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from app.accounts.rights import check_is_admin
from app.accounts.second_factor.service import turn_off
from app.accounts.service import add_member, add_user, clean_email, clean_name, find_user, get_user, revoke_links
from app.accounts.who_is_out import end_all
from app.database.audit import record
from app.errors import Conflict, Gone, NotFound
from app.language.languages import N_, _
from app.models import Invitation, Membership, Project, User, utc_now
from app.web.security import Role, digest, new_secret

INVITATION_DAYS = 14
OWNER_LINK_HOURS = 24
MOST_OPEN = 200  # of one project: as many as its page lists

_GONE = N_("This invitation has been used, withdrawn or has run out. Ask whoever sent it for a new one.")


@dataclass(frozen=True)
class Offer:
    """What an invitation offers: a role in a project, or the ownership of the installation."""

    id: int
    role: Literal["owner", "annotator", "reviewer", "admin"]
    project_id: int | None
    project_name: str
    project_slug: str


# Making


def invite(session: Session, project_id: int, role: Role, by: int, name: str = "") -> tuple[str, Invitation]:
    """A new invitation and its token, which is stored nowhere. Raises NotAllowed for somebody who is admin no more, Conflict
    where many are open already.
    """
    check_is_admin(session, by, project_id)
    _check_count(session, project_id)
    token, invitation = _make(session, role, timedelta(days=INVITATION_DAYS), project_id, by)
    invitation.name = " ".join(name.split())[:200]
    record(session, by, "invitation.made", f"invitation {invitation.id}", {"role": role}, project_id)
    return token, invitation


def _check_count(session: Session, project_id: int) -> None:
    if len(open_invitations(session, project_id)) >= MOST_OPEN:
        raise Conflict(
            _("%(most)s invitations of this project are open, and that is the most. Withdraw some first.", most=MOST_OPEN)
        )


def owner_link(session: Session) -> str:
    """A fresh one-time link for an owner; links made before stop working. For whoever runs commands on this machine."""
    session.execute(
        update(Invitation)
        .where(Invitation.role == "owner", Invitation.used_at.is_(None), Invitation.revoked_at.is_(None))
        .values(revoked_at=utc_now())
    )
    token, invitation = _make(session, "owner", timedelta(hours=OWNER_LINK_HOURS), None, None)
    record(session, None, "owner_link.made", f"invitation {invitation.id}")
    return token


def has_owner(session: Session) -> bool:
    """Whether somebody can sign in as owner."""
    return bool(
        session.scalar(
            select(exists().where(User.is_owner.is_(True), User.password_hash.is_not(None), User.disabled_at.is_(None)))
        )
    )


def has_open_owner_link(session: Session) -> bool:
    return bool(
        session.scalar(
            select(
                exists().where(
                    Invitation.role == "owner",
                    Invitation.used_at.is_(None),
                    Invitation.revoked_at.is_(None),
                    Invitation.expires_at > utc_now(),
                )
            )
        )
    )


def _make(session: Session, role: str, lifetime: timedelta, project_id: int | None, by: int | None) -> tuple[str, Invitation]:
    token = new_secret()
    invitation = Invitation(
        token_hash=digest(token),
        role=role,
        project_id=project_id,
        created_by=by,
        expires_at=utc_now() + lifetime,
    )
    session.add(invitation)
    session.flush()
    return token, invitation


# Looking


def read_offer(session: Session, token: str) -> Offer:
    """Raises Gone unless the token still opens a door; which of the reasons it is stays unsaid."""
    row = session.execute(
        select(Invitation.id, Invitation.role, Invitation.project_id, Project.name, Project.slug)
        .outerjoin(Project, Project.id == Invitation.project_id)
        .where(
            Invitation.token_hash == digest(token),
            Invitation.used_at.is_(None),
            Invitation.revoked_at.is_(None),
            Invitation.expires_at > utc_now(),
        )
    ).one_or_none()
    if row is None:
        raise Gone(_(_GONE))
    return Offer(row.id, row.role, row.project_id, row.name or "", row.slug or "")


def open_invitations(session: Session, project_id: int) -> Sequence[Invitation]:
    return session.scalars(
        select(Invitation)
        .where(
            Invitation.project_id == project_id,
            Invitation.used_at.is_(None),
            Invitation.revoked_at.is_(None),
            Invitation.expires_at > utc_now(),
        )
        .order_by(Invitation.id.desc())
        .limit(MOST_OPEN)
    ).all()


# Using


def check_acceptable(session: Session, token: str, name: str, email: str) -> None:
    """All that can be refused before a password is hashed, as `accept_as_new` will refuse it."""
    offer = read_offer(session, token)
    there = find_user(session, clean_email(email))
    if there is None:
        clean_name(name)
    elif offer.role != "owner":
        raise _taken()


def _taken() -> Conflict:
    return Conflict(
        _("There is already an account with this email. Sign in with it, then open the invitation again."),
        {"email": _("This address is taken.")},
    )


def accept_as_new(session: Session, token: str, name: str, email: str, password_hash: str) -> int:
    """Use the invitation for a new account; returns its id.

    The owner's link may also name an existing account: it then becomes owner with this password, which is how someone with
    access to the machine gets back in. Any other invitation for a taken address is refused: its person must sign in first.
    """
    offer = read_offer(session, token)
    user = find_user(session, clean_email(email))
    if user is None:
        user = add_user(session, name, email, password_hash)
    elif offer.role == "owner":
        user.password_hash = password_hash
        user.disabled_at = None
        turn_off(session, user.id, user.id)  # whoever is at the machine may have lost the device as well
        end_all(session, user.id, user.id)  # whoever had found out the old password is out
    else:
        raise _taken()
    _use(session, offer, user)
    return user.id


def accept_as(session: Session, token: str, user_id: int) -> Offer:
    """Use the invitation for someone who is signed in."""
    offer = read_offer(session, token)
    _use(session, offer, get_user(session, user_id))
    return offer


def _use(session: Session, offer: Offer, user: User) -> None:
    used = session.execute(
        update(Invitation)
        .where(Invitation.id == offer.id, Invitation.used_at.is_(None))
        .values(used_at=utc_now(), used_by=user.id)
        .returning(Invitation.id)
    ).one_or_none()
    if used is None:  # someone else used it in the same moment
        raise Gone(_(_GONE))
    if offer.project_id is None:
        user.is_owner = True
        revoke_links(session, user.id)
    else:
        _join(session, user.id, offer.project_id, offer.role)
    record(session, user.id, "invitation.accepted", f"invitation {offer.id}", {"role": offer.role}, offer.project_id)
    session.flush()


def _join(session: Session, user_id: int, project_id: int, role: str) -> None:
    """Membership at least as the invitation says; an admin who follows an annotator's link stays admin."""
    ranks = ("annotator", "reviewer", "admin")
    membership = session.scalar(select(Membership).where(Membership.user_id == user_id, Membership.project_id == project_id))
    if membership is None:
        add_member(session, user_id, project_id, cast(Role, role))
    elif ranks.index(role) > ranks.index(membership.role):
        membership.role = role
        revoke_links(session, user_id)


def revoke_invitation(session: Session, project_id: int, invitation_id: int, by: int) -> None:
    found = session.execute(
        update(Invitation)
        .where(Invitation.id == invitation_id, Invitation.project_id == project_id, Invitation.used_at.is_(None))
        .where(Invitation.revoked_at.is_(None))
        .values(revoked_at=utc_now())
        .returning(Invitation.id)
    ).one_or_none()
    if found is None:
        raise NotFound(_("There is no such open invitation in this project."))
    record(session, by, "invitation.withdrawn", f"invitation {invitation_id}", None, project_id)
