"""Headers of every reply, and requests that another site made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient


@pytest.mark.parametrize("path", ["/sign-in", "/api/v1/health", "/nowhere", "/api/v1/nowhere", "/static/none", "/account"])
def test_every_reply_forbids_what_we_do_not_use(visitor: TestClient, cast: object, path: str) -> None:
    headers = visitor.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("same-origin", "no-referrer")


def test_a_failure_of_ours_has_the_headers_too_and_no_details(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(app.state, "engine")  # as good as any bug

    reply = client.get("/api/v1/users")

    assert reply.status_code == 500
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "engine" not in reply.text
    assert "Reference" in reply.json()["detail"]


def test_another_host_name_is_refused(app: FastAPI, cast: object) -> None:
    attacker = TestClient(app, base_url="http://attacker.example")
    assert attacker.get("/sign-in").status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://attacker.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": "https://localhost"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_what_another_site_sends_is_refused_even_with_the_form_token(client: TestClient, headers: dict[str, str]) -> None:
    reply = client.post("/account/keys", data={"scopes": "export"}, headers=headers)
    assert reply.status_code == 403
    assert "another site" in reply.text


def test_our_own_page_may_send(client: TestClient) -> None:
    headers = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
    assert client.post("/account/keys", data={"scopes": "export"}, headers=headers).status_code == 201


def test_without_the_form_token_nothing_changes(client: TestClient) -> None:
    del client.headers["x-csrf-token"]
    assert client.post("/account/keys", data={"scopes": "export"}).status_code == 403
    assert client.post("/account/keys", data={"scopes": "export", "csrf_token": "0" * 64}).status_code == 403
    assert client.post("/api/v1/users", json={"name": "x", "email": "x@example.org"}).status_code == 403


def test_the_form_token_of_someone_else_is_refused(as_user: Callable[[str], TestClient]) -> None:
    mary, grace = as_user("Mary"), as_user("Grace")
    mary.headers["x-csrf-token"] = grace.headers["x-csrf-token"]
    assert mary.post("/account/keys", data={"scopes": "annotate"}).status_code == 403


def test_the_token_may_come_in_the_form(client: TestClient) -> None:
    token = client.headers.pop("x-csrf-token")
    assert client.post("/account/keys", data={"scopes": "export", "csrf_token": token}).status_code == 201


def test_a_key_needs_no_form_token(api: Callable[..., TestClient]) -> None:
    assert api("admin").post("/api/v1/users", json={"name": "x", "email": "x@example.org"}).status_code == 201


def test_a_key_opens_no_page(api: Callable[..., TestClient]) -> None:
    assert api("admin").get("/account").status_code == 303
