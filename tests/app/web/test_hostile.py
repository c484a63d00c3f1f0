"""Input that stock FastAPI answers with 500: refused with problem+json, and never repeated to the sender."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.web.permissions import RULES, Level

Api = Callable[..., TestClient]

JSON = {"content-type": "application/json"}
DEEP = b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": NaN, "email": "marker"}',
        b'{"name": Infinity}',
        b'{"name": "marker", "email": "a@example.org", "extra": -Infinity}',
        b'{"name": "\\ud800 marker", "email": "a@example.org"}',
        b'{"\\udc00marker": 1}',
        b'{"name": "nul \\u0000 marker", "email": "a@example.org"}',
        b'{"name": "\xff\xfe", "email": "a@example.org"}',
        b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": "marker"',
        b"[]",
        b"null",
        b"marker",
        DEEP,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_hostile_json_is_refused_and_not_echoed(api: Api, body: bytes) -> None:
    reply = api("admin").post("/api/v1/users", content=body, headers=JSON)

    assert reply.status_code in (400, 422)
    assert reply.headers["content-type"] == "application/problem+json"
    assert "marker" not in reply.text
    assert reply.json()["status"] == reply.status_code


def test_not_a_number_is_refused_where_a_number_is_asked_for(api: Api, cast: object) -> None:
    reply = api("admin").post("/api/v1/users/1/keys", content=b'{"scopes": ["admin"], "expires_in_days": NaN}', headers=JSON)
    assert reply.status_code == 422


@pytest.mark.parametrize("number", ["9223372036854775808", "9" * 40, "-1", "0", "1e3", "٣", "NaN"])
def test_ids_out_of_range_are_refused(api: Api, number: str) -> None:
    assert api("admin").delete(f"/api/v1/keys/{number}").status_code in (404, 422)
    assert api("annotate").post(f"/api/v1/tasks/{number}/skip", json={"reason": ""}).status_code in (404, 422)


@pytest.mark.parametrize("path", ["/api/v1/projects/%00", "/api/v1/projects/demo?x=%00", "/api/v1/users?cursor=a%00b"])
def test_a_nul_in_an_address_is_refused(api: Api, path: str) -> None:
    reply = api("admin").get(path)
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("header", [b"Bearer tm_1_\xff\xfe", b"\xc3\xa9", b"Bearer " + b"x" * 5000])
def test_an_odd_authorization_header_is_no_key(visitor: TestClient, cast: object, header: bytes) -> None:
    reply = visitor.get("/api/v1/users", headers=[(b"authorization", header)])
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("cookie", ["\xff", "x" * 5000, "a=b; c", "'; --"])
def test_an_odd_cookie_signs_nobody_in(visitor: TestClient, cast: object, cookie: str) -> None:
    reply = visitor.get("/account", headers=[(b"cookie", b"tastemaker=" + cookie.encode("latin-1"))])
    assert reply.status_code == 303
    assert reply.headers["location"].startswith("/sign-in")


def test_a_body_that_is_too_large_is_refused_with_words(api: Api) -> None:
    reply = api("admin").post("/api/v1/users", content=b'{"name": "' + b"x" * 1_100_000 + b'"}', headers=JSON)
    assert reply.status_code == 413
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"] == "That is too large to take at once. Send less, or send it in parts."


def test_a_form_that_is_too_large_is_refused_on_a_page(client: TestClient) -> None:
    reply = client.post("/account/keys", data={"name": "x" * 1_100_000})
    assert reply.status_code == 413
    assert "That is too large to take at once." in reply.text
    assert reply.headers["content-type"].startswith("text/html")


def test_a_body_that_grows_too_large_is_refused_while_it_comes(api: Api) -> None:
    reply = api("admin").post("/api/v1/users", content=(b" " * 100_000 for _ in range(20)), headers=JSON)
    assert reply.status_code == 413
    assert reply.headers["content-type"] == "application/problem+json"


def test_nothing_of_a_body_is_looked_at_before_its_sender_may_send_it(app: FastAPI, cast: object) -> None:
    """It is taken off the wire before there is a place for who sends it, so that nobody who sends slowly holds one."""

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{ no JSON", "more_body": False}

    async def call(method: str, path: str) -> int:
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        asked = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"9")]
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
        }
        scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": asked, "root_path": ""}
        await app(scope | {"server": ("testserver", 80), "client": ("127.0.0.1", 1)}, receive, send)
        return int(told[0]["status"])

    shut = [(method, path) for (method, path), rule in RULES.items() if rule.level > Level.PUBLIC and path.startswith("/api/")]
    changing = [(method, path) for method, path in shut if method in ("POST", "PUT", "PATCH", "DELETE")]
    assert len(changing) > 40
    for method, path in changing:
        assert asyncio.run(call(method, re.sub("{[^}]*}", "1", path))) == 401, (method, path)


def test_a_cursor_of_somebody_elses_making_is_refused(api: Api) -> None:
    for cursor in ("x", "-1", "1.5", "9" * 30):
        assert api("admin").get("/api/v1/users", params={"cursor": cursor}).status_code == 422


def test_a_form_with_a_nul_is_refused(client: TestClient) -> None:
    reply = client.post("/account/keys", data={"name": "a\0b", "scopes": "export"})
    assert reply.status_code == 422
