"""Webhooks: registering an address, trying it out, giving it another secret, removing it; and the log of what was sent."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, NotFound
from app.language.languages import _
from app.models import Announcement, Delivery, Webhook, utc_now
from app.webhooks.addresses import check
from app.webhooks.announcing import IN_FORCE, announce
from trainer.contract.messages import Message

MOST: Final = 20  # addresses at once
MOST_FORMER: Final = 5  # secrets that sign beside the newest
BOTH_SIGN: Final = timedelta(days=1)  # after a new secret: long enough to bring it to the receiver


@dataclass(frozen=True, slots=True)
class Sent:
    """A row of the log."""

    delivery: Delivery
    announcement: Announcement
    webhook: Webhook


def list_webhooks(session: Session) -> list[Webhook]:
    return list(session.scalars(select(Webhook).where(Webhook.removed_at.is_(None)).order_by(Webhook.id)))


def get_webhook(session: Session, webhook_id: int) -> Webhook:
    """Raises NotFound, for one that was removed too."""
    webhook = session.get(Webhook, webhook_id)
    if webhook is None or webhook.removed_at is not None:
        raise NotFound(_("There is no such webhook."))
    return webhook


def register(session: Session, address: str, by: int | None) -> Webhook:
    """Raises Invalid for what is no address, Conflict where it is registered or there are too many. Its secret is shown once."""
    address = check(address)
    session.execute(IN_FORCE.with_for_update(key_share=True))  # so that of two at once one is counted by the other
    there = list_webhooks(session)
    if any(webhook.address == address for webhook in there):
        raise Conflict(_("This address is registered already."))
    if len(there) >= MOST:
        raise Conflict(_("There are %(most)s webhooks, the most there can be; remove one first.", most=MOST))
    webhook = Webhook(address=address, secret=_new_secret(), created_by=by)
    session.add(webhook)
    session.flush()
    record(session, by, "webhook.added", f"webhook {webhook.id}", {"address": address})
    return webhook


def renew_secret(session: Session, webhook: Webhook, by: int | None) -> str:
    """The new secret, shown once. For a day each one before signs as well, so that no receiver misses anything."""
    _hold(session, webhook)
    now = utc_now()
    webhook.former_until = now + BOTH_SIGN
    webhook.former_secrets = [*webhook.still_signing(now), [webhook.secret, webhook.former_until.isoformat()]][-MOST_FORMER:]
    webhook.secret = _new_secret()
    record(session, by, "webhook.secret_renewed", f"webhook {webhook.id}", {"address": webhook.address})
    session.flush()
    return webhook.secret


def remove(session: Session, webhook: Webhook, by: int | None) -> None:
    """Nothing is sent there any more, what waits included. Its secrets are forgotten."""
    _hold(session, webhook)
    webhook.removed_at, webhook.secret, webhook.former_secrets = utc_now(), "", []
    waiting = update(Delivery).where(Delivery.webhook_id == webhook.id, Delivery.state == "waiting")
    session.execute(waiting.values(state="dropped"))
    record(session, by, "webhook.removed", f"webhook {webhook.id}", {"address": webhook.address})
    session.flush()


def send_test(session: Session, webhook: Webhook) -> Sent:
    """To be sent to this address alone, by a worker, as whatever else is."""
    _hold(session, webhook)
    told = announce(session, None, "test", Message("webhook_test"))
    delivery = Delivery(webhook_id=webhook.id, announcement_id=told.id)
    session.add(delivery)
    session.flush()
    return Sent(delivery, told, webhook)


def log(session: Session, before: int | None = None, limit: int = 50) -> list[Sent]:
    """What was sent and what waits, the newest first; `before` is the id the page before ended with."""
    rows = (
        select(Delivery, Announcement, Webhook)
        .join(Announcement, Announcement.id == Delivery.announcement_id)
        .join(Webhook, Webhook.id == Delivery.webhook_id)
    )
    if before is not None:
        rows = rows.where(Delivery.id < before)
    return [Sent(*row) for row in session.execute(rows.order_by(Delivery.id.desc()).limit(limit))]


def _hold(session: Session, webhook: Webhook) -> None:
    """Raises NotFound for one that somebody removes at this moment."""
    hold(session, webhook)
    get_webhook(session, webhook.id)


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
