"""Announcements reach a real receiver: signed, once, however long it was down; and nobody who is not registered."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import standardwebhooks
from sqlalchemy import Engine, func, select, update

from app.database.engine import read_session, write_session
from app.models import Delivery, Project, Webhook, utc_now
from app.webhooks import delivering, service
from app.webhooks.announcing import announce
from app.webhooks.delivering import WAITS, deliver, due_webhooks
from tests.app import factories
from tests.app.webhooks.receiver import receiving
from tests.postgres import engine as on_postgres
from tests.postgres import server
from trainer.contract.messages import Message

__all__ = ["on_postgres", "server"]


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue("engine" if request.param == "sqlite" else "on_postgres")
    return found


def registered(engine: Engine, address: str) -> tuple[int, str]:
    """(id, secret)."""
    with write_session(engine) as session:
        webhook = service.register(session, address, None)
        return webhook.id, webhook.secret


def something_happens(engine: Engine) -> str:
    """What its announcement is called."""
    with write_session(engine) as session:
        project = factories.make_project(session)
        return announce(session, project, "rounds.paused", Message("announce_paused")).name


def delivery(engine: Engine, webhook_id: int) -> Delivery:
    with read_session(engine) as session:
        found = session.scalars(select(Delivery).where(Delivery.webhook_id == webhook_id)).one()
        session.expunge(found)
        return found


def work_until(engine: Engine, webhook_id: int, end: datetime) -> int:
    """As a worker that looks all the time of a simulated clock; how often it tried."""
    tries = 0
    while True:
        with read_session(engine) as session:
            waiting = (Delivery.state == "waiting", Delivery.webhook_id == webhook_id)
            due = session.scalar(select(func.min(Delivery.due_at)).where(*waiting))
        if due is None or due > end:
            return tries
        assert webhook_id in due_webhooks(engine, due)
        tries += 1
        deliver(engine, webhook_id, partial(_same, due))


def _same(moment: datetime) -> datetime:
    return moment


def test_what_is_sent_is_signed_and_says_what_happened(either: Engine) -> None:
    with receiving() as receiver:
        webhook_id, secret = registered(either, receiver.address)
        name = something_happens(either)
        assert deliver(either, webhook_id) == 1
        [received] = receiver.received
        told = received.verified(secret)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            received.verified("whsec_" + "A" * 43 + "=")
    assert (received.path, received.headers["webhook-id"]) == ("/hooks", name)
    assert told["type"] == "rounds.paused"
    assert told["data"]["message"] == "Rounds that start by themselves are paused."  # type: ignore[index]
    with read_session(either) as session:
        project = session.scalars(select(Project).order_by(Project.id.desc())).first()
        assert project is not None
        assert told["data"]["project"] == {"id": project.id, "slug": project.slug}  # type: ignore[index]


def test_a_receiver_that_is_down_for_ten_minutes_is_told_once_it_is_back_and_once(either: Engine) -> None:
    with receiving() as down:
        port = down.port
    end = utc_now()
    begin = end - timedelta(minutes=40)
    webhook_id, _secret = registered(either, f"http://127.0.0.1:{port}/hooks")
    something_happens(either)
    with write_session(either) as session:
        session.execute(update(Delivery).where(Delivery.webhook_id == webhook_id).values(due_at=begin))
    assert work_until(either, webhook_id, begin + timedelta(minutes=10)) == 5
    waiting = delivery(either, webhook_id)
    assert (waiting.state, waiting.tries, waiting.trouble and waiting.trouble.code) == ("waiting", 5, "webhook_no_answer")
    with receiving(port) as back:
        assert work_until(either, webhook_id, end + timedelta(days=5)) == 1
        assert len(back.received) == 1
    assert (delivery(either, webhook_id).state, delivery(either, webhook_id).tries) == ("delivered", 6)


def test_tries_come_ever_later_and_end_after_days(engine: Engine) -> None:
    with receiving() as receiver:
        receiver.status = 503
        webhook_id, _secret = registered(engine, receiver.address)
        something_happens(engine)
        now = utc_now()
        for wait in WAITS:
            deliver(engine, webhook_id, partial(_same, now))
            assert delivery(engine, webhook_id).due_at == now + wait
            assert not due_webhooks(engine, now + wait - timedelta(seconds=1))
            now += wait
        assert delivery(engine, webhook_id).state == "waiting"
        deliver(engine, webhook_id, partial(_same, now))
        assert (delivery(engine, webhook_id).state, delivery(engine, webhook_id).status) == ("given_up", 503)
        assert not due_webhooks(engine, now + timedelta(days=30))
    assert len(receiver.received) == len(WAITS) + 1
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1, "a repetition can be known by it"
    assert timedelta(days=3) < sum(WAITS, timedelta()) < timedelta(days=4)


def test_of_workers_that_look_at_once_one_delivers(either: Engine) -> None:
    with receiving() as receiver:
        webhook_id, _secret = registered(either, receiver.address)
        for _ in range(3):
            something_happens(either)
        together = threading.Barrier(4)

        def work() -> int:
            together.wait()
            return deliver(either, webhook_id)

        with ThreadPoolExecutor(4) as workers:
            taken = [one.result() for one in [workers.submit(work) for _ in range(4)]]
        assert sum(taken) == len(receiver.received) == 3
        assert len({one.headers["webhook-id"] for one in receiver.received}) == 3


def test_what_a_worker_claimed_and_died_over_another_sends_later(engine: Engine) -> None:
    with receiving() as receiver:
        webhook_id, _secret = registered(engine, receiver.address)
        something_happens(engine)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.webhooks.delivering._send", lambda one, now: (_ for _ in ()).throw(SystemExit))
            with pytest.raises(SystemExit):
                deliver(engine, webhook_id)
        assert deliver(engine, webhook_id) == 0
        assert deliver(engine, webhook_id, lambda: utc_now() + timedelta(minutes=3)) == 1
    assert len(receiver.received) == 1


def test_nothing_is_sent_to_an_address_that_was_removed_or_that_a_redirect_names(engine: Engine) -> None:
    with receiving() as receiver, receiving() as stranger:
        webhook_id, _secret = registered(engine, receiver.address)
        something_happens(engine)
        receiver.status, receiver.headers = 307, {"location": stranger.address}
        deliver(engine, webhook_id)
        assert (delivery(engine, webhook_id).state, delivery(engine, webhook_id).status) == ("waiting", 307)
        with write_session(engine) as session:
            service.remove(session, session.get_one(Webhook, webhook_id), None)
        something_happens(engine)
        assert work_until(engine, webhook_id, utc_now() + timedelta(days=5)) == 0
        assert delivery(engine, webhook_id).state == "dropped"
        assert (len(receiver.received), stranger.received) == (1, [])


def test_an_address_that_is_removed_while_its_tries_are_claimed_is_not_asked(engine: Engine) -> None:
    with receiving() as receiver:
        webhook_id, _secret = registered(engine, receiver.address)
        something_happens(engine)
        with write_session(engine) as session:  # as if the removal came between the look and the claim
            session.get_one(Webhook, webhook_id).removed_at = utc_now()
        assert deliver(engine, webhook_id) == 0
        assert not due_webhooks(engine, utc_now() + timedelta(days=30)), "nor looked at for ever"
    assert (receiver.received, delivery(engine, webhook_id).state) == ([], "dropped")


def test_who_removes_an_address_waits_for_what_is_announced_to_it_and_drops_that(on_postgres: Engine) -> None:
    webhook_id, _secret = registered(on_postgres, "https://example.org/removed")

    def remove() -> None:
        with write_session(on_postgres) as session:
            service.remove(session, service.get_webhook(session, webhook_id), None)

    with ThreadPoolExecutor(1) as other:
        with write_session(on_postgres) as session:
            announce(session, factories.make_project(session), "rounds.paused", Message("announce_paused"))
            removal = other.submit(remove)
            with pytest.raises(TimeoutError):
                removal.result(0.5)
        removal.result(20)
    assert delivery(on_postgres, webhook_id).state == "dropped"


def test_what_workers_died_over_at_every_try_is_given_up(engine: Engine) -> None:
    with receiving() as receiver:
        webhook_id, _secret = registered(engine, receiver.address)
        something_happens(engine)
        with write_session(engine) as session:
            session.execute(update(Delivery).values(tries=len(WAITS) + 1))
        assert deliver(engine, webhook_id) == 0
    assert (receiver.received, delivery(engine, webhook_id).state) == ([], "given_up")


def test_for_a_day_each_secret_before_signs_too_however_many_there_were(engine: Engine) -> None:
    with receiving() as receiver:
        webhook_id, first = registered(engine, receiver.address)
        made = [first]
        for _ in range(2):
            with write_session(engine) as session:
                made.append(service.renew_secret(session, session.get_one(Webhook, webhook_id), None))
        something_happens(engine)
        deliver(engine, webhook_id)
        one, two, three = (receiver.received[0].verified(secret) for secret in made)
        assert one == two == three


def test_after_a_day_the_secret_before_signs_no_more(engine: Engine) -> None:
    with receiving() as receiver:
        webhook_id, first = registered(engine, receiver.address)
        with write_session(engine) as session:
            second = service.renew_secret(session, session.get_one(Webhook, webhook_id), None)
            webhook = session.get_one(Webhook, webhook_id)
            webhook.former_secrets = [[secret, utc_now().isoformat()] for secret, _until in webhook.former_secrets]
        something_happens(engine)
        deliver(engine, webhook_id)
        receiver.received[0].verified(second)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            receiver.received[0].verified(first)


def test_a_name_that_leads_to_the_networks_own_devices_is_not_asked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook_id, _secret = registered(engine, "https://example.org/hooks")
    something_happens(engine)
    found = [(2, 1, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr("app.webhooks.addresses.socket.getaddrinfo", lambda *args, **how: found)
    assert deliver(engine, webhook_id) == 0
    trouble = delivery(engine, webhook_id).trouble
    assert trouble is not None
    assert trouble.code == "webhook_place_refused"


def test_a_name_whose_first_number_nobody_listens_at_is_reached_by_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def two_numbers(host: str, *asked: Any, **more: Any) -> list[tuple[Any, ...]]:
        return [
            found
            for number in ("::1", "127.0.0.1")
            for found in look_up(number if host == "receiver.test" else host, *asked, **more)
        ]

    with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", two_numbers)
        webhook_id, _secret = registered(engine, f"http://receiver.test:{receiver.port}/hooks")
        something_happens(engine)
        assert deliver(engine, webhook_id) == 1
        assert [one.headers["host"] for one in receiver.received] == [f"receiver.test:{receiver.port}"]


def test_an_answer_that_trickles_in_ends_before_somebody_else_makes_the_try(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(seconds=delivering.WHOLE_S) < delivering.CLAIM
    monkeypatch.setattr(delivering, "WHOLE_S", 0.5)
    ended = threading.Event()

    def trickle(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 204 No Content\r\nx-slow: ")
            for _ in range(100):
                try:
                    connection.sendall(b"a")
                except OSError:
                    break
                if ended.wait(0.05):
                    break

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening,))
        thread.start()
        webhook_id, _secret = registered(engine, f"http://127.0.0.1:{listening.getsockname()[1]}/hooks")
        something_happens(engine)
        began = time.monotonic()
        assert deliver(engine, webhook_id) == 0
        took = time.monotonic() - began
        ended.set()
        thread.join()
    assert took < 3
    trouble = delivery(engine, webhook_id).trouble
    assert trouble is not None
    assert "no whole answer in 0.5 seconds" in str(trouble.arguments["error"])
