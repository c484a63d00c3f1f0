"""Webhooks as pages and programs handle them: the owner registers, tries out, renews and removes; the log says how it went."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, NotFound
from app.models import AuditEntry, Webhook
from app.webhooks import service
from app.webhooks.delivering import deliver
from app.webhooks.service import MOST
from tests.app.conftest import Cast
from tests.app.webhooks.receiver import receiving
from tests.postgres import engine as on_postgres
from tests.postgres import server

__all__ = ["on_postgres", "server"]

V1 = "/api/v1"
Browser = Callable[[str], TestClient]


def test_the_owner_registers_an_address_and_sees_its_secret_once(as_user: Browser, engine: Engine, cast: Cast) -> None:
    ada = as_user("Ada")
    made = ada.post("/webhooks", data={"address": "https://example.org/hooks"})
    assert made.status_code == 201
    with read_session(engine) as session:
        webhook = session.scalars(select(Webhook)).one()
        assert [entry.action for entry in session.scalars(select(AuditEntry)) if "webhook" in entry.action] == ["webhook.added"]
    assert webhook.secret in made.text.replace("&#43;", "+").replace("&#x2F;", "/")
    page = ada.get("/webhooks").text
    assert "https://example.org/hooks" in page
    assert "whsec_" not in page
    assert "whsec_" not in ada.get("/audit").text


def test_what_is_no_address_is_refused_on_the_page(as_user: Browser, cast: Cast) -> None:
    refused = as_user("Ada").post("/webhooks", data={"address": "http://169.254.169.254/"})
    assert refused.status_code == 422
    assert "Nothing is sent to addresses of the network itself" in refused.text
    assert 'value="http://169.254.169.254/"' in refused.text


def test_nobody_but_an_owner_sees_or_registers_them(as_user: Browser, api: Callable[..., TestClient], cast: Cast) -> None:
    for name in ("Grace", "Mary"):
        assert as_user(name).get("/webhooks").status_code in (403, 404)
        assert as_user(name).post("/webhooks", data={"address": "https://example.org/"}).status_code in (403, 404)
    assert api("admin", who="Grace").post(f"{V1}/webhooks", json={"address": "https://example.org/"}).status_code == 403


def test_a_test_arrives_at_its_address_alone_and_the_log_says_so(as_user: Browser, engine: Engine, cast: Cast) -> None:
    ada = as_user("Ada")
    with receiving() as receiver:
        ada.post("/webhooks", data={"address": "https://example.org/other"})
        ada.post("/webhooks", data={"address": receiver.address})
        with read_session(engine) as session:
            webhook = session.scalars(select(Webhook).where(Webhook.address == receiver.address)).one()
        assert ada.post(f"/webhooks/{webhook.id}/test").status_code == 303
        assert deliver(engine, webhook.id) == 1
        assert receiver.received[0].verified(webhook.secret)["type"] == "test"
    page = ada.get("/webhooks").text
    assert '<span class="badge badge--ok">delivered</span>' in page
    assert len(re.findall("<code>test</code>", page)) == 1


def test_a_program_does_the_same(api: Callable[..., TestClient], engine: Engine, cast: Cast) -> None:
    owner = api("admin", who="Ada")
    made = owner.post(f"{V1}/webhooks", json={"address": "https://example.org/hooks"})
    assert made.status_code == 201
    at = f"{V1}/webhooks/{made.json()['id']}"
    assert owner.post(f"{V1}/webhooks", json={"address": "https://example.org/hooks"}).status_code == 409
    renewed = owner.post(f"{at}/secret").json()
    assert renewed["secret"] not in ("", made.json()["secret"])
    listed = owner.get(f"{V1}/webhooks").json()
    assert [(one["address"], one["former_until"] is not None) for one in listed] == [("https://example.org/hooks", True)]
    assert "secret" not in listed[0]
    sent = owner.post(f"{at}/test")
    assert (sent.status_code, sent.json()["state"]) == (202, "waiting")
    assert owner.get(f"{V1}/webhooks/deliveries").json()["items"] == [sent.json()]
    assert owner.delete(at).status_code == 204
    assert owner.get(f"{V1}/webhooks").json() == []
    assert owner.get(f"{V1}/webhooks/deliveries").json()["items"][0]["state"] == "dropped"
    assert [owner.delete(at).status_code, owner.post(f"{at}/test").status_code] == [404, 404]
    with read_session(engine) as session:
        assert session.scalars(select(Webhook.secret)).all() == [""]


def test_there_is_a_limit_to_how_many(api: Callable[..., TestClient], engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        session.add_all(Webhook(address=f"https://example.org/{number}", secret="whsec_AAAA") for number in range(MOST))
    refused = api("admin", who="Ada").post(f"{V1}/webhooks", json={"address": "https://example.org/more"})
    assert (refused.status_code, "the most there can be" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize("there", [0, MOST - 1])
def test_of_two_who_register_at_once_the_second_finds_what_the_first_did(on_postgres: Engine, there: int) -> None:
    """The same address twice, or one more than there can be."""
    with write_session(on_postgres) as session:
        session.execute(delete(Webhook))
        session.add_all(Webhook(address=f"https://example.org/{number}", secret="whsec_AAAA") for number in range(there))

    def register(address: str) -> None:
        with write_session(on_postgres) as session:
            service.register(session, address, None)

    with ThreadPoolExecutor(1) as other:
        with write_session(on_postgres) as session:
            service.register(session, "https://example.org/hooks", None)
            second = other.submit(register, "https://example.org/more" if there else "https://example.org/hooks")
            with pytest.raises(TimeoutError):
                second.result(0.5)
        with pytest.raises((Conflict, IntegrityError)):  # a request that meets the latter is done again, and finds the former
            second.result(20)
    with read_session(on_postgres) as session:
        assert len(service.list_webhooks(session)) == there + 1


def test_who_renews_a_secret_while_it_is_removed_leaves_none_behind(on_postgres: Engine) -> None:
    with write_session(on_postgres) as session:
        session.execute(delete(Webhook))
        webhook_id = service.register(session, "https://example.org/going", None).id

    def renew() -> None:
        with write_session(on_postgres) as session:
            service.renew_secret(session, service.get_webhook(session, webhook_id), None)

    with ThreadPoolExecutor(1) as other:
        with write_session(on_postgres) as session:
            service.remove(session, service.get_webhook(session, webhook_id), None)
            second = other.submit(renew)
            with pytest.raises(TimeoutError):
                second.result(0.5)
        with pytest.raises(NotFound):
            second.result(20)
    with read_session(on_postgres) as session:
        assert session.get_one(Webhook, webhook_id).secret == ""
