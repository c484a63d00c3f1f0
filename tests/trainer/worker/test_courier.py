"""The worker sends what is announced, and waits for no receiver."""

from __future__ import annotations

import socket
import time

from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Delivery
from app.webhooks import service
from app.webhooks.announcing import announce
from tests.app import factories
from tests.app.webhooks.receiver import receiving
from trainer.contract.messages import Message
from trainer.worker import courier
from trainer.worker.courier import Courier


def announced(engine: Engine, *addresses: str) -> None:
    with write_session(engine) as session:
        for address in addresses:
            service.register(session, address, None)
        announce(session, factories.make_project(session), "rounds.paused", Message("announce_paused"))


def states(engine: Engine) -> list[str]:
    with read_session(engine) as session:
        return list(session.scalars(select(Delivery.state).order_by(Delivery.webhook_id)))


def test_a_receiver_that_never_answers_keeps_neither_the_worker_nor_another_receiver_waiting(
    engine: Engine, monkeypatch: object
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, receiving() as receiver:
        announced(engine, f"http://127.0.0.1:{silent.getsockname()[1]}/", receiver.address)
        told = Courier(engine)
        began = time.monotonic()
        told.look()
        assert time.monotonic() - began < 1
        while not receiver.received and time.monotonic() - began < 20:
            time.sleep(0.01)
        told.close()
    assert len(receiver.received) == 1
    assert states(engine) == ["waiting", "delivered"]


def test_two_workers_deliver_once(engine: Engine) -> None:
    with receiving() as receiver:
        announced(engine, receiver.address)
        both = [Courier(engine), Courier(engine)]
        for one in both:
            one.look()
        for one in both:
            one.close()
    assert len(receiver.received) == 1
    assert states(engine) == ["delivered"]


def test_it_looks_once_a_second(engine: Engine) -> None:
    told = Courier(engine)
    told.look()
    with receiving() as receiver:
        announced(engine, receiver.address)
        told.look()
        assert states(engine) == ["waiting"]
        time.sleep(courier.LOOK_S)
        told.look()
        told.close()
    assert states(engine) == ["delivered"]
