"""Putting answers in order by keys and by lists, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect
from sqlalchemy import Engine

from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.journeys.desk import Open, all_saved, go, judge, press, stored
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey


def test_numbers_give_places_and_equals_share_one(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2, kind="ranking")
    page = open_as("Mary")
    go(page)
    order = page.locator("#desk [data-order]")

    expect(order).to_have_text("No answer has a place yet.")
    press(page, "2", "4", "=", "1")
    expect(order).to_have_text("2 > 1 = 4 > …")
    press(page, "4")  # taken off again
    expect(order).to_have_text("2 > 1 > …")
    press(page, "4")
    page.get_by_label("Place of answer 3").select_option("last")
    expect(order).to_have_text("2 > 1 > 4 > 3")
    page.locator("#question").focus()
    judge(page)

    press(page, "Enter")  # nothing is said yet
    expect(page.locator("#desk [data-order]")).to_have_text("No answer has a place yet.")
    judge(page, "1", "9")  # one place, and then: all bad
    all_saved(page)
    said = [label.ranking or {} for label in stored(engine)]
    assert [(one["order"], one["last"], one["all_bad"]) for one in said] == [([[2], [1], [4]], [3], False), ([], [], True)]
    expect(page.locator("#last-verdicts li")).to_have_text(["all bad", "2 > 1 > 4 > 3"])


def test_a_draft_of_an_order_survives_a_reload_and_undo_brings_it_back(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2, kind="ranking")
    page = open_as("Mary")
    go(page)
    press(page, "3", "1")
    go(page)
    expect(page.locator("#desk [data-order]")).to_have_text("3 > 1 > …")
    judge(page)
    all_saved(page)

    press(page, "u")
    expect(page.locator("#desk [data-order]")).to_have_text("3 > 1 > …")
    press(page, "0", "2")
    judge(page)
    all_saved(page)
    assert [(label.version, (label.ranking or {})["order"]) for label in stored(engine)] == [(1, [[3], [1]]), (2, [[2]])]


def test_an_order_that_the_network_lost_arrives_once_after_a_reload(open_as: Open, engine: Engine, cast: Cast) -> None:
    """It was stored, but nobody heard of that; then nothing came through, and the page was loaded anew."""
    make_tasks(engine, cast.demo, 2, kind="ranking")
    page = open_as("Mary")
    sent: list[int] = []

    def cut(route: Route) -> None:
        if not sent:
            sent.append(route.fetch().status)
        route.abort()

    page.route("**/api/v1/tasks/*/label", cut)
    go(page)
    press(page, "3", "=", "1")
    page.get_by_label("Place of answer 2").select_option("last")
    page.locator("#question").focus()
    judged = judge(page)
    expect(page.locator(".save-state")).to_contain_text("not saved yet: 1.")
    go(page)
    expect(page.locator(".save-state")).to_contain_text("not saved yet: 1.")
    expect(page.locator(".outbox__entry [data-words]")).to_have_text(["1 = 3 > … > 2"])

    page.unroute("**/api/v1/tasks/*/label")
    go(page)
    all_saved(page)

    assert sent == [201]
    (label,) = stored(engine)
    assert (label.task_id, label.version) == (judged, 1)
    assert {part: (label.ranking or {})[part] for part in ("order", "last", "all_bad")} == {
        "order": [[1, 3]],
        "last": [2],
        "all_bad": False,
    }


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_the_page_fits_and_is_for_everybody(open_as: Open, engine: Engine, cast: Cast, scheme: str, width: int) -> None:
    make_tasks(engine, cast.demo, 1, kind="ranking")
    page = open_as("Mary", color_scheme=scheme, viewport={"width": width, "height": 800})
    go(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == ""
    page.get_by_role("button", name="Next place").nth(1).click()
    expect(page.locator("#desk [data-order]")).to_have_text("2 > …")
