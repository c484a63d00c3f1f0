from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project
from tests.app.conftest import Cast
from tests.app.exports.judging import judge

Browser = Callable[[str], TestClient]
PAGE = "/projects/demo/export"


def test_the_page_says_what_there_is(as_user: Browser, engine: Engine, project: Project, cast: Cast) -> None:
    assert "Nothing to export yet" in as_user("Grace").get(PAGE).text
    with write_session(engine) as session:
        for choice in ("left", "right", "tie"):
            judge(session, project, cast.mary, choice=choice)
        judge(session, project, cast.mary, overall=4)
    text = " ".join(as_user("Grace").get(PAGE).text.split())
    assert "2 preferences, 1 tie or both bad, 1 rating." in text


def test_the_form_as_it_stands_downloads_a_file(as_user: Browser, engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left")
    form = {"format": "preference", "as": "csv", "split": "", "since": "", "until": "", "min_agreement": "0"}
    reply = as_user("Grace").get(f"{PAGE}/file", params=form)
    assert reply.status_code == 200
    assert reply.headers["content-disposition"].endswith('"demo-preference.csv"')
    assert reply.text.count("\r\n") == 2
    again = as_user("Grace").get(f"{PAGE}/file", params=form, headers={"If-None-Match": reply.headers["etag"]})
    assert again.status_code == 304


def test_a_file_without_rows_is_said_to_be_none(as_user: Browser, engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, overall=4)
    browser = as_user("Grace")
    for as_ in ("jsonl", "csv"):
        reply = browser.get(f"{PAGE}/file", params={"format": "preference", "as": as_}, follow_redirects=True)
        assert reply.headers["content-type"].startswith("text/html")
        assert "No label makes a row of what you asked for" in reply.text
    assert browser.get(f"{PAGE}/file", params={"format": "ratings"}).status_code == 200


def test_a_wrong_day_is_refused_in_words(as_user: Browser) -> None:
    reply = as_user("Grace").get(f"{PAGE}/file", params={"since": "31.3.2026"})
    assert reply.status_code == 422
    assert "since must be a date" in reply.text
