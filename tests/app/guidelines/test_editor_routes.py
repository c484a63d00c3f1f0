"""The guideline editor: a preview saves nothing, a save is a version, nobody's newer text is overwritten."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session
from app.guidelines.service import guideline
from app.projects.service import get_project
from tests.app.projects.test_routes import form_of

Browser = Callable[[str], TestClient]
EDITOR = "/projects/demo/settings/guidelines"


def in_force(engine: Engine) -> tuple[int, str]:
    with read_session(engine) as session:
        found = guideline(session, get_project(session, "demo"))
        return found.version, found.text


def test_a_preview_shows_the_page_and_the_change_and_saves_nothing(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(EDITOR).text) | {"guidelines": "Prefer the **kind** answer.\r\n", "do": "preview"}
    page = browser.post(EDITOR, data=words)
    assert page.status_code == 200
    assert "<strong>kind</strong>" in page.text
    assert "What would change" in page.text
    assert form_of(page.text)["guidelines"].strip() == "Prefer the **kind** answer."
    assert in_force(engine)[0] == 1


def test_a_save_is_a_new_version(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    reply = browser.post(
        EDITOR, data=form_of(browser.get(EDITOR).text) | {"guidelines": "Only the truth."}, follow_redirects=True
    )
    assert "Saved as version 2" in reply.text
    assert "Start from this text" in reply.text
    assert in_force(engine) == (2, "Only the truth.")
    assert "<em>true</em>" not in browser.get(f"{EDITOR}?from=1").text
    assert form_of(browser.get(f"{EDITOR}?from=1").text)["guidelines"] == "Prefer the answer that is *true*."


def test_newer_guidelines_of_somebody_else_are_not_overwritten(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    mine = form_of(browser.get(EDITOR).text) | {"guidelines": "Mine."}
    browser.post(EDITOR, data=mine | {"guidelines": "Theirs."})
    reply = browser.post(EDITOR, data=mine)
    assert reply.status_code == 409
    assert "Somebody saved other guidelines" in reply.text
    assert form_of(reply.text)["guidelines"] == "Mine."
    assert in_force(engine) == (2, "Theirs.")

    assert "Version 2, saved meanwhile" in reply.text
    assert ">Theirs.</div>" in reply.text
    assert browser.post(EDITOR, data=form_of(reply.text)).status_code == 303, "their text was shown, so it may be replaced"
    assert in_force(engine) == (3, "Mine.")


def test_a_preview_of_an_old_text_still_does_not_overwrite_a_newer_one(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    mine = form_of(browser.get(EDITOR).text) | {"guidelines": "Mine."}
    browser.post(EDITOR, data=mine | {"guidelines": "Theirs."})
    previewed = form_of(browser.post(EDITOR, data=mine | {"do": "preview"}).text)
    assert browser.post(EDITOR, data=previewed).status_code == 409
    assert in_force(engine) == (2, "Theirs.")


def test_what_is_too_long_to_render_is_refused_at_once(as_user: Browser) -> None:
    browser = as_user("Grace")
    words = form_of(browser.get(EDITOR).text) | {"guidelines": "[" * 20_001}
    assert browser.post(EDITOR, data=words | {"do": "preview"}).status_code == 200
    assert "longer than 20,000 characters" in browser.post(EDITOR, data=words).text
