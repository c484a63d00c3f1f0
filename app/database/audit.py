"""The audit trail: who did what. Append-only: this is the only code that touches the table, and it only adds and reads."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.models import AuditEntry


def record(
    session: Session,
    actor_id: int | None,  # None: the machine itself, or someone who is not signed in
    action: str,  # "invitation.made": thing, then verb
    subject: str = "",  # "user 7"
    details: dict[str, Any] | None = None,
    project_id: int | None = None,
) -> None:
    """Note an action in the transaction that does it, so that neither is stored without the other."""
    session.add(
        AuditEntry(
            actor_id=actor_id,
            action=action[:100],
            subject=subject[:200],
            details=details or {},
            project_id=project_id,
        )
    )


def entries(
    session: Session,
    project_id: int | None,  # None: the whole installation's
    *,
    thing: str = "",  # the first word of an action: "policy"
    actor_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[AuditEntry]:
    """The newest first; `before` is the id the page before ended with."""
    wanted = select(AuditEntry)
    if project_id is not None:
        wanted = wanted.where(AuditEntry.project_id == project_id)
    if thing:
        wanted = wanted.where(AuditEntry.action.startswith(f"{thing}.", autoescape=True))
    if actor_id is not None:
        wanted = wanted.where(AuditEntry.actor_id == actor_id)
    if before is not None:
        wanted = wanted.where(AuditEntry.id < before)
    return list(session.scalars(wanted.order_by(AuditEntry.id.desc()).limit(limit)))


# What concerns who may come in, and as whom: the things that a person's own page of events tells of.
_OF_SECURITY = (
    *("session", "sessions", "sign_in", "password", "password_link", "email", "key", "keys", "second_factor", "recovery_code"),
    *("recovery_codes", "role", "member", "invitation", "person", "ownership"),
)


def entries_about(session: Session, user_id: int, *, before: int | None = None, limit: int = 50) -> list[AuditEntry]:
    """What this person did, and what was done to them, as far as it concerns who may come in; the newest first."""
    of_security = or_(*(AuditEntry.action.startswith(f"{thing}.", autoescape=True) for thing in _OF_SECURITY))
    theirs = or_(AuditEntry.actor_id == user_id, AuditEntry.subject == f"user {user_id}")
    wanted = select(AuditEntry).where(theirs, of_security)
    if before is not None:
        wanted = wanted.where(AuditEntry.id < before)
    return list(session.scalars(wanted.order_by(AuditEntry.id.desc()).limit(limit)))
