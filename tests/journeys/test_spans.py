"""Marks in a real browser: by keys alone, through a reload and without the network, by mouse, in both languages, on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from app.database.engine import write_session
from app.labels.answers.spans import MOST_SPANS
from app.models import Generation, Project, Task
from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.journeys.desk import Open, all_saved, fetched_ahead, go, judge, press, stored, until
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey

REASONS = [("wrong", "wrong", "bad"), ("well_put", "well put", "good")]
TEXT = "🙂 Blue light scatters.\r\nIt\u202e is the sea that makes it so."


def offer(
    engine: Engine, cast: Cast, *, kind: str = "comparison", tasks: int = 1, display: str = "written", text: str = TEXT
) -> None:
    more = {"description": "", "version": 1, "earlier": [], "since": "2026-01-01T00:00:00+00:00"}
    made = make_tasks(engine, cast.demo, tasks, kind=kind)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.span_reasons = [{"key": key, "name": name, "tone": tone, **more} for key, name, tone in REASONS]
        project.text_display = display
        for task in (session.get_one(Task, one) for one in made):
            for generation in filter(None, (task.first_generation_id, task.second_generation_id)):
                session.get_one(Generation, generation).text = text


def span(quote: str, reason: str) -> dict[str, Any]:
    start = TEXT.index(quote)
    return {"start": start, "end": start + len(quote), "reason": reason, "quote": quote}


def marks(page: Page, side: str) -> list[str]:
    return page.locator(f".pane:has([name='spans.{side}']) mark.span").all_text_contents()


def test_words_are_marked_by_keys_through_a_reload_and_without_the_network(open_as: Open, engine: Engine, cast: Cast) -> None:
    offer(engine, cast, tasks=2)
    page = open_as("Mary")
    go(page)
    press(page, "m")
    until(page, "getSelection().toString() === '🙂'")
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowRight")
    expect(page.locator("[data-marks] output").first).to_have_text("Selected: “light scatters”")
    press(page, "2", "ArrowDown", "ArrowDown", "1", "Escape")
    assert marks(page, "left") == ["light scatters", TEXT[TEXT.index("It") :].replace("\u202e", "U+202E")]
    press(page, "M", "1", "ArrowRight", "1", "Delete", "Escape")
    expect(page.locator("[name=choice]:checked")).to_have_count(0)
    page.reload(wait_until="networkidle")
    until(page, "document.querySelectorAll('mark.span').length === 3")
    assert marks(page, "right") == ["🙂"]
    fetched_ahead(page)

    page.context.set_offline(True)
    judge(page, "1")
    expect(page.locator(".save-state")).to_contain_text("not saved yet: 1.")
    assert stored(engine) == []
    page.context.set_offline(False)
    all_saved(page)

    (label,) = stored(engine)
    assert label.choice == "left"
    assert label.spans == {
        "reasons": {"well_put": 1, "wrong": 1},
        "left": [span("light scatters", "well_put"), span("It\u202e is the sea that makes it so.", "wrong")],
        "right": [span("🙂", "wrong")],
    }


def test_a_mark_is_made_with_the_mouse_and_taken_off_again(open_as: Open, engine: Engine, cast: Cast) -> None:
    offer(engine, cast, kind="rating", display="markdown")
    page = open_as("Mary")
    go(page)
    page.locator(".marking > summary").click()
    pane = page.locator(".pane__text")
    page.get_by_role("button", name="well put").click()
    expect(page.locator("[data-marks] output")).to_have_text("Select words in the answer first.")
    pane.get_by_text("Blue light").dblclick(position={"x": 60, "y": 20})
    page.get_by_role("button", name="well put").click()
    page.get_by_role("button", name="wrong").click()
    expect(page.locator(".marking__list li")).to_have_count(2)
    page.get_by_role("button", name="Take off").first.click()
    expect(page.locator(".marking__list li")).to_have_count(1)
    pane.click(position={"x": 200, "y": 100})
    page.get_by_role("button", name="well put").click()
    expect(page.locator("[data-marks] output")).to_have_text("Select words in the answer first.")
    judge(page, "4")
    all_saved(page)

    (label,) = stored(engine)
    assert label.overall == 4
    (one,) = label.spans["response"] if label.spans else []
    assert (one["reason"], one["quote"]) == ("wrong", TEXT[one["start"] : one["end"]])


def test_selecting_words_with_the_mouse_opens_the_tool(open_as: Open, engine: Engine, cast: Cast) -> None:
    offer(engine, cast, text="Scattered.")
    page = open_as("Mary")
    go(page)
    page.locator(".pane__text").last.dblclick(position={"x": 40, "y": 20})
    expect(page.locator(".marking[open]")).to_have_count(1)
    until(page, "getSelection().toString().trim() === 'Scattered'")
    page.get_by_role("button", name="wrong").click()
    judge(page, "1")
    all_saved(page)

    (label,) = stored(engine)
    assert (label.spans or {})["right"] == [{"start": 0, "end": 9, "reason": "wrong", "quote": "Scattered"}]


def test_an_answer_takes_as_many_marks_as_a_verdict_and_says_so(open_as: Open, engine: Engine, cast: Cast) -> None:
    offer(engine, cast, kind="rating", text=" ".join(f"word{number}" for number in range(MOST_SPANS + 1)))
    page = open_as("Mary")
    go(page)
    press(page, "m", "1", *["ArrowRight", "1"] * MOST_SPANS)
    expect(page.locator("[data-marks] output")).to_have_text("An answer takes 50 marks. Take one off first.")
    press(page, "Escape")
    judge(page, "4")
    all_saved(page)

    (label,) = stored(engine)
    assert len((label.spans or {})["response"]) == MOST_SPANS


@pytest.mark.parametrize(("scheme", "locale", "width"), [("light", "en-GB", 1280), ("dark", "zh-TW", 360)])
def test_it_fits_any_screen_and_everybody_can_use_it(
    open_as: Open, engine: Engine, cast: Cast, scheme: str, locale: str, width: int
) -> None:
    offer(engine, cast)
    page = open_as("Mary", viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale)
    go(page)
    press(page, "m", "ArrowRight", "1", "ArrowRight", "2")
    until(page, "document.querySelectorAll('mark.span').length === 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == ""
    press(page, "Escape")
    assert axe(page) == ""
    judge(page, "1")
    all_saved(page)
    admin = open_as("Grace", viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale)
    for path in (f"/labels/{stored(engine)[0].id}", "/projects/demo/settings/questions"):
        admin.goto(path, wait_until="networkidle")
        assert admin.evaluate("document.documentElement.scrollWidth") <= width
        assert axe(admin) == ""
