"""Delivering what is announced: signed after standardwebhooks.com, tried again for days, taken once.

A worker does it, in threads of its own; no request of the web and no run waits for it. A try is claimed before it is made, by
moving the moment at which it is due: of several workers one makes it, and where that one dies another does, after `CLAIM`.
Every try of an announcement bears the same id, by which a receiver knows one that it took while its answer was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Signer

from app.database.engine import read_session, write_session
from app.models import Announcement, Delivery, Webhook, utc_now
from app.models.values import storable
from app.webhooks.addresses import Place, Unreachable, place_of
from trainer.contract.english import english
from trainer.contract.messages import Message

# After the first, second, ... try that came to nothing; then it is given up. 3.2 days together.
WAITS: Final = (
    *(timedelta(seconds=seconds) for seconds in (5, 30, 90)),
    *(timedelta(minutes=minutes) for minutes in (5, 10, 30)),
    *(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 30)),
)
TIMEOUT_S: Final = 10.0  # to connect, and between two parts of an answer
WHOLE_S: Final = 60.0  # of a try, however its answer trickles in
CLAIM: Final = timedelta(minutes=2)  # longer than that, names looked up included


@dataclass(frozen=True, slots=True)
class Try:
    """One request that is to be made now, and by us."""

    delivery_id: int
    number: int  # 1, 2, ...
    name: str
    address: str
    secrets: tuple[str, ...]
    body: str


def due_webhooks(engine: Engine, now: datetime) -> list[int]:
    """Those to which something is to be sent."""
    with read_session(engine) as session:
        return list(session.scalars(select(Delivery.webhook_id).where(*_due(now)).distinct()))


def deliver(engine: Engine, webhook_id: int, clock: Callable[[], datetime] = utc_now) -> int:
    """Send an address all that is due now, one after another; how many it took."""
    with read_session(engine) as session:
        mine = select(Delivery.id).where(*_due(clock()), Delivery.webhook_id == webhook_id)
        ids = session.scalars(mine.order_by(Delivery.id)).all()
    taken = 0
    for delivery_id in ids:
        with write_session(engine) as session:
            one = _claim(session, delivery_id, clock())
        if one is None:
            continue
        status, trouble = _send(one, clock())
        taken += trouble is None
        with write_session(engine) as session:
            _note(session, one, clock(), status, trouble)
    return taken


def _due(now: datetime) -> tuple[Any, ...]:
    return Delivery.state == "waiting", Delivery.due_at <= now


def _claim(session: Session, delivery_id: int, now: datetime) -> Try | None:
    """None where another worker makes this try, the address was removed meanwhile, or workers died over all there are."""
    mine = update(Delivery).where(Delivery.id == delivery_id, *_due(now))
    number = session.scalar(mine.values(due_at=now + CLAIM, tries=Delivery.tries + 1, tried_at=now).returning(Delivery.tries))
    if number is None:
        return None
    delivery = session.get_one(Delivery, delivery_id)
    webhook = session.get_one(Webhook, delivery.webhook_id)
    if webhook.removed_at is not None or number > len(WAITS) + 1:
        delivery.state = "dropped" if webhook.removed_at is not None else "given_up"
        return None
    told = session.get_one(Announcement, delivery.announcement_id)
    former = (secret for secret, _until in reversed(webhook.still_signing(now)))
    return Try(delivery_id, number, told.name, webhook.address, (webhook.secret, *former), body_of(told))


def body_of(told: Announcement) -> str:
    """What is sent, the same at every try."""
    data = told.data | {"message": english(told.message)}
    return json.dumps({"type": told.event, "timestamp": told.created_at.isoformat(), "data": data}, ensure_ascii=False)


def headers_of(one: Try, now: datetime) -> dict[str, str]:
    signed = " ".join(Signer(secret).sign(one.name, now, one.body) for secret in one.secrets)
    return {
        "webhook-id": one.name,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signed,
        "content-type": "application/json",
        "user-agent": "Tastemaker",
    }


def _send(one: Try, now: datetime) -> tuple[int | None, Message | None]:
    """The status of the answer, and what is wrong with it. A redirect is not followed: its target was not registered."""
    from httpx2 import HTTPError, InvalidURL  # here: whoever announces needs none of it

    try:
        status = asyncio.run(_in_time(one, now, place_of(one.address)))
    except Unreachable as error:
        return None, error.message
    except (HTTPError, InvalidURL, OSError) as error:
        words = str(storable(" ".join((type(error).__name__, str(error)))[:200]))
        return None, Message("webhook_no_answer", error=words)
    return status, None if 200 <= status < 300 else Message("webhook_answered", status=status)


async def _in_time(one: Try, now: datetime, place: Place) -> int:
    """Parts have a limit of their own, which a byte now and then never reaches: another worker would make the same try."""
    try:
        async with asyncio.timeout(WHOLE_S):
            return await _post(one, now, place)
    except TimeoutError:
        raise TimeoutError(f"no whole answer in {WHOLE_S:g} seconds") from None


async def _post(one: Try, now: datetime, place: Place) -> int:
    """The status of whoever answers at the first number that a connection can be made to. Nobody else is told anything."""
    from httpx2 import ConnectError, ConnectTimeout

    *before, last = place.numbers
    for number in before:
        with contextlib.suppress(ConnectError, ConnectTimeout):
            return await _post_to(number, one, now, place)
    return await _post_to(last, one, now, place)


async def _post_to(number: str, one: Try, now: datetime, place: Place) -> int:
    from httpx2 import AsyncClient

    address, host, secure = _at(number, place, one.address)
    body, headers = one.body.encode(), headers_of(one, now) | host
    client = AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)
    sending = client.stream("POST", address, content=body, headers=headers, extensions=secure)
    async with client, sending as answer:  # whose words are nobody's business
        return int(answer.status_code)


def _at(number: str, place: Place, address: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The address by a number that was looked at, and the name for the Host line and the certificate."""
    from httpx2 import URL

    named = URL(address)
    at = named.copy_with(host=number)
    return str(at), {"host": named.netloc.decode("ascii")}, {"sni_hostname": place.host} if place.is_secure else {}


def _note(session: Session, one: Try, now: datetime, status: int | None, trouble: Message | None) -> None:
    """What became of a try, unless somebody else has made the next one or the address was removed."""
    mine = update(Delivery).where(Delivery.id == one.delivery_id, Delivery.tries == one.number, Delivery.state == "waiting")
    if trouble is None:
        values: dict[str, Any] = {"state": "delivered"}
    elif one.number > len(WAITS):
        values = {"state": "given_up"}
    else:
        values = {"due_at": now + WAITS[one.number - 1]}
    session.execute(mine.values(status=status, trouble=trouble, **values))
