from __future__ import annotations

import base64
import json
import re

import pytest
from fastapi import FastAPI, Request
from jinja2 import UndefinedError
from starlette.requests import Request as StarletteRequest
from starlette.testclient import TestClient

from app.web import pages


@pytest.fixture
def request_(app: FastAPI) -> Request:
    return asked(app)


def asked(app: FastAPI, cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b"", "app": app}
    return StarletteRequest(scope)


def error_page(request: Request, detail: str = "It is gone.") -> str:
    return bytes(pages.render(request, "error.html", status=410, title="Gone", detail=detail).body).decode()


def test_what_a_page_is_given_is_escaped(request_: Request) -> None:
    assert "&lt;img onerror=x&gt;" in error_page(request_, "<img onerror=x>")


def test_a_name_the_route_forgot_is_an_error(request_: Request) -> None:
    with pytest.raises(UndefinedError):
        pages.render(request_, "error.html", title="Gone")


def test_a_page_has_no_inline_script_and_no_inline_style(request_: Request) -> None:
    page = error_page(request_)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)


def test_a_message_is_shown_once_after_a_redirect(app: FastAPI, request_: Request) -> None:
    reply = pages.redirect(request_, "/somewhere", "Saved <all> of it.")
    assert (reply.status_code, reply.headers["location"]) == (303, "/somewhere")
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    shown = pages.render(asked(app, cookie.partition(";")[0]), "error.html", title="Gone", detail="")
    assert "Saved &lt;all&gt; of it." in bytes(shown.body).decode()
    assert 'tastemaker_message=""' in shown.headers["set-cookie"]


@pytest.mark.parametrize(
    "packed",
    ["%%%", base64.urlsafe_b64encode(b"[1]").decode(), base64.urlsafe_b64encode(json.dumps(["x", "y"]).encode()).decode()],
)
def test_a_message_nobody_sent_is_not_shown(app: FastAPI, packed: str) -> None:
    assert 'role="status"' not in error_page(asked(app, f"tastemaker_message={packed}"))


@pytest.mark.parametrize("url", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"])
def test_redirects_stay_on_this_site(request_: Request, url: str) -> None:
    with pytest.raises(ValueError):
        pages.redirect(request_, url)


def test_static_files_are_kept_for_a_year_under_their_digest_only(visitor: TestClient) -> None:
    fresh = visitor.get(pages.static_url("js/main.js"))
    assert fresh.status_code == 200
    assert "immutable" in fresh.headers["cache-control"]
    stale = visitor.get("/static/000000000000/js/main.js")
    assert (stale.status_code, stale.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("path", ["/static/x/", "/static/"])
def test_a_folder_of_static_files_is_not_served(visitor: TestClient, path: str) -> None:
    assert visitor.get(path).status_code == 404


@pytest.mark.parametrize("outside", ["pyproject.toml", "app/web/pages.py"])
@pytest.mark.parametrize("way", ["%2e%2e/", "x/%2e%2e/%2e%2e/", "000000000000/%2e%2e/", "000000000000/%2e%2e/%2e%2e/"])
def test_no_way_leads_out_of_the_static_files(visitor: TestClient, way: str, outside: str) -> None:
    assert (pages.STATIC.parent / outside).is_file()
    assert visitor.get(f"/static/{way}{outside}").status_code == 404


def test_a_static_file_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError):
        pages.static_url("js/nothing.js")


def test_every_stylesheet_of_a_component_is_linked() -> None:
    linked = {sheet.rpartition("/")[2] for sheet in pages.stylesheets()}
    assert linked >= {path.name for path in (pages.STATIC / "css").rglob("*.css")}


def test_every_template_compiles() -> None:
    for path in pages.TEMPLATES.rglob("*.html"):
        pages.environment().get_template(path.relative_to(pages.TEMPLATES).as_posix())
