"""What a round announces: its decision, that it waits for one, and that it ended without. In the transaction that does it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.models import Checkpoint, Project, Round
from app.webhooks.announcing import announce
from trainer.contract.messages import Message, as_json


def decided(session: Session, round_: Round) -> None:
    """Promoted or rejected, by whomever; where people or their budget decided, its reason has the figures."""
    number, reason = round_.number, round_.reason
    if round_.decision == "promoted":
        policy = session.get_one(Checkpoint, round_.candidate_id).name
        plain = Message("announce_promoted", number=number, policy=policy)
        message = plain if reason is None else Message("announce_promoted_because", number=number, policy=policy, reason=reason)
    elif reason is None:
        message = Message("announce_rejected", number=number)
    else:
        message = Message("announce_rejected_because", number=number, reason=reason)
    data = {"decision": round_.decision, "checkpoint": round_.candidate_id, "by": round_.decided_by}
    announce(session, _project(session, round_), "round.decided", message, round_, data | _why(reason))


def waits(session: Session, round_: Round, reason: Message | None = None) -> None:
    """An admin is to decide; `reason`: what people said."""
    number = round_.number
    plain = Message("announce_waits", number=number)
    message = plain if reason is None else Message("announce_waits_because", number=number, reason=reason)
    announce(session, _project(session, round_), "round.waits", message, round_, _why(reason))


def ended(session: Session, round_: Round) -> None:
    """Failed, or stopped itself, for its reason. Whoever cancels a round knows it."""
    reason = round_.reason or Message("refused_without_reason")
    if round_.state == "failed":
        message = Message("announce_failed", number=round_.number, reason=reason)
        announce(session, _project(session, round_), "round.failed", message, round_, _why(reason))
    elif round_.state == "refused":
        message = Message("announce_refused", number=round_.number, reason=reason)
        announce(session, _project(session, round_), "round.refused", message, round_, _why(reason))


def promoted(session: Session, project: Project, policy: Checkpoint, reason: Message | None) -> None:
    """A promotion that no round waited for, such as going back."""
    plain = Message("announce_policy", policy=policy.name)
    message = plain if reason is None else Message("announce_policy_because", policy=policy.name, reason=reason)
    data = {"checkpoint": policy.id, "by": policy.promoted_by}
    announce(session, project, "policy.promoted", message, None, data | _why(reason))


def _project(session: Session, round_: Round) -> Project:
    return session.get_one(Project, round_.project_id)


def _why(reason: Message | None) -> dict[str, Any]:
    return {} if reason is None else {"reason": as_json(reason)}
