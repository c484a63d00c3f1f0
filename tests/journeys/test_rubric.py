"""The rubric in a real browser: by keys alone, through a reload and without the network, in both languages, on any screen."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Project
from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.journeys.desk import Open, all_saved, fetched_ahead, go, judge, press, stored
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey

ITEMS = [("sourced", "Does it name a source?", True), ("on_topic", "Does it answer the question?", False)]


def ask(engine: Engine, cast: Cast) -> None:
    more = {"description": "", "version": 1, "earlier": [], "since": "2026-01-01T00:00:00+00:00"}
    with write_session(engine) as session:
        items = [{"key": key, "name": name, "required": required, **more} for key, name, required in ITEMS]
        session.get_one(Project, cast.demo).rubric = items


def test_a_rubric_is_answered_by_keys_through_a_reload_and_without_the_network(open_as: Open, engine: Engine, cast: Cast) -> None:
    ask(engine, cast)
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    press(page, "y", "n", "c")
    expect(page.locator("[name='rubric.on_topic.left'][value=cannot_say]")).to_be_checked()
    page.reload(wait_until="networkidle")
    expect(page.locator("[name='rubric.sourced.right'][value=no]")).to_be_checked()
    fetched_ahead(page)

    page.context.set_offline(True)
    judge(page, "1")
    expect(page.locator(".save-state")).to_contain_text("not saved yet: 1.")
    assert stored(engine) == []
    page.context.set_offline(False)
    all_saved(page)

    (label,) = stored(engine)
    assert label.choice == "left"
    assert label.rubric == {
        "sourced": {"version": 1, "left": "yes", "right": "no"},
        "on_topic": {"version": 1, "left": "cannot_say"},
    }


def test_a_rating_takes_scores_and_answers_by_keys(open_as: Open, engine: Engine, cast: Cast) -> None:
    ask(engine, cast)
    make_tasks(engine, cast.demo, 1, kind="rating")
    page = open_as("Mary")
    go(page)
    judge(page, "4", "n", "y")
    all_saved(page)

    (label,) = stored(engine)
    assert label.overall == 4
    assert label.rubric == {"sourced": {"version": 1, "response": "no"}, "on_topic": {"version": 1, "response": "yes"}}


@pytest.mark.parametrize(("scheme", "locale", "width"), [("light", "en-GB", 1280), ("dark", "zh-TW", 360)])
def test_it_fits_any_screen_and_everybody_can_use_it(
    open_as: Open, engine: Engine, cast: Cast, scheme: str, locale: str, width: int
) -> None:
    ask(engine, cast)
    make_tasks(engine, cast.demo, 1)
    page = open_as("Mary", viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale)
    go(page)
    press(page, "y", "n")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == ""
