"""The audit trail: who did what. Append-only: this is the only code that touches the table, and it only adds."""

from __future__ import annotations

from typing import Any

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
