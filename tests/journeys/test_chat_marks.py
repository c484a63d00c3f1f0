"""Marks in a turn of a talk, in a real browser: by keys through a reload and a cut, by touch on a phone, in both languages."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Project
from tests.app.chats.conftest import alive, talking
from tests.app.chats.talk import Talk
from tests.app.conftest import Cast
from tests.journeys.desk import Open, press, stored, until, watch
from tests.journeys.test_looks import axe
from tests.journeys.test_spans import REASONS, TEXT, span

__all__ = ["alive", "talking"]

pytestmark = pytest.mark.journey


@pytest.fixture
def talk(engine: Engine, cast: Cast, talking: None) -> Talk:
    """Mary has said something, and two answers stand there to be chosen from."""
    more = {"description": "", "version": 1, "earlier": [], "since": "2026-01-01T00:00:00+00:00"}
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.span_reasons = [{"key": key, "name": name, "tone": tone, **more} for key, name, tone in REASONS]
    made = Talk(engine, cast)
    made.keep(made.say("Why is the sky blue?"), TEXT, "Magic.")
    return made


def marks(page: Page, side: str) -> list[str]:
    return page.locator(f".pane:has([name='spans.{side}']) mark.span").all_text_contents()


def test_words_of_a_turn_are_marked_by_keys_through_a_reload_and_a_cut(open_as: Open, engine: Engine, talk: Talk) -> None:
    page = open_as("Mary")
    complaints = watch(page)
    page.goto(f"/chats/{talk.id}", wait_until="networkidle")
    press(page, "m")
    until(page, "getSelection().toString() === '🙂'")
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowRight", "2", "Escape")
    press(page, "M", "1", "Escape", "Shift+F", " ", "Escape")
    assert stored(engine) == [], "a digit names a reason while words are chosen"
    page.reload(wait_until="networkidle")
    until(page, "document.querySelectorAll('mark.span').length === 2")
    assert (marks(page, "left"), marks(page, "right")) == (["light scatters"], ["Magic"])
    expect(page.locator("[name='flags.right']").first).to_be_checked()

    page.context.set_offline(True)
    press(page, "9")
    page.keyboard.type("Air scatters it.")
    press(page, "Enter")
    expect(page.locator("[data-notice]")).to_contain_text("trying again")
    assert stored(engine) == []
    page.context.set_offline(False)
    expect(page.locator(".talk__reply")).to_have_count(1, timeout=20_000)

    (label,) = stored(engine)
    assert (label.choice, label.rewrite) == ("both_bad", {"side": "left", "text": "Air scatters it."})
    assert label.spans == {
        "reasons": {"well_put": 1, "wrong": 1},
        "left": [span("light scatters", "well_put")],
        "right": [{"start": 0, "end": 5, "reason": "wrong", "quote": "Magic"}],
    }
    until(page, "!Object.keys(localStorage).some((key) => key.startsWith('tastemaker.draft.'))")
    assert [one for one in complaints if "ERR_INTERNET_DISCONNECTED" not in one and "Failed to load" not in one] == []


@pytest.mark.parametrize(("scheme", "locale"), [("light", "en-GB"), ("dark", "zh-TW")])
def test_words_of_a_turn_are_marked_by_touch_on_a_phone(
    open_as: Open, engine: Engine, talk: Talk, scheme: str, locale: str
) -> None:
    phone = {"viewport": {"width": 360, "height": 800}, "has_touch": True, "is_mobile": True}
    page = open_as("Mary", **phone, color_scheme=scheme, locale=locale)
    page.goto(f"/chats/{talk.id}", wait_until="networkidle")
    tool = page.locator(".marking").last
    tool.locator("summary").tap()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#talk [data-side=right]'))")  # as a long touch does
    tool.locator("[data-reason=wrong]").tap()
    until(page, "document.querySelectorAll('mark.span').length === 1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert axe(page) == ""
    page.locator("[name=choice][value=left]").tap()
    expect(page.locator(".talk__reply")).to_have_count(1, timeout=20_000)

    (label,) = stored(engine)
    assert (label.choice, (label.spans or {})["right"]) == (
        "left",
        [{"start": 0, "end": 6, "reason": "wrong", "quote": "Magic."}],
    )
    assert "left" not in (label.spans or {})


def test_without_reasons_a_talk_offers_no_marks(open_as: Open, engine: Engine, cast: Cast, talk: Talk) -> None:
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).span_reasons = []
    page = open_as("Mary")
    page.goto(f"/chats/{talk.id}", wait_until="networkidle")
    expect(page.locator("[data-marks]")).to_have_count(0)
    press(page, "1")
    expect(page.locator(".talk__reply")).to_have_count(1, timeout=20_000)
    assert [label.spans for label in stored(engine)] == [None]
