"""Hostile texts in a real browser: no script of theirs runs, nothing is asked of elsewhere, and the page still works."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Dialog, Page, expect
from sqlalchemy import Engine

from tests.app import hostile
from tests.app.conftest import Cast
from tests.app.texts.test_hostile_texts import write_everywhere
from tests.journeys.desk import go

pytestmark = pytest.mark.journey

Open = Callable[..., Page]


def watched(page: Page) -> list[str]:
    """What must not happen on this page, as it happens: a dialog, an error, a request to another host, a window."""
    seen: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("popup", lambda popup: seen.append(f"window: {popup.url}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("console", lambda message: seen.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("request", lambda request: seen.append(f"request: {request.url}") if _elsewhere(page, request.url) else None)
    return seen


def _elsewhere(page: Page, url: str) -> bool:
    return urlsplit(url).hostname not in (urlsplit(page.url).hostname, None, "127.0.0.1")


def look(page: Page, engine: Engine, cast: Cast, text: str) -> None:
    """The page of a label with that text everywhere, which must still scroll, keep to its width and answer the keyboard."""
    _, label = write_everywhere(engine, cast, text, "markdown")
    page.goto(f"/labels/{label}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("window.hit") is None, text[:80]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280, text[:80]
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()


def test_nothing_hostile_runs_and_the_page_stays_usable(open_as: Open, engine: Engine, cast: Cast) -> None:
    page = open_as("Ada", viewport={"width": 1280, "height": 800})
    seen = watched(page)
    for text in hostile.sample(16):
        look(page, engine, cast, text)
    for path in ("/projects/demo/labels", "/projects/demo/prompts"):  # all of them at once
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert seen == []


def test_a_hostile_pair_can_be_judged(open_as: Open, engine: Engine, cast: Cast) -> None:
    write_everywhere(engine, cast, hostile.SCRIPTS[0].replace("{act}", "window.hit=1") + "\u202e" + "x" * 5_000, "markdown")
    page = open_as("Mary")
    seen = watched(page)
    go(page)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 today")).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert seen == []


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_none_of_the_three_hundred_runs(open_as: Open, engine: Engine, cast: Cast) -> None:
    page = open_as("Ada", viewport={"width": 1280, "height": 800})
    seen = watched(page)
    for text in hostile.payloads():
        look(page, engine, cast, text)
        assert seen == [], text[:80]
