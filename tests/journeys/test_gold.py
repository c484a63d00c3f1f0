"""Known answers by keys alone: an admin takes a task on which all agreed, and says of another what is right."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Gold, Project
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.quality.gold.test_service import agreed
from tests.journeys.desk import Open, press, tab_to, watch
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey


def known(engine: Engine) -> list[tuple[int | None, str | None, int | None]]:
    with read_session(engine) as session:
        return [(one.source_task_id, one.choice, one.overall) for one in session.scalars(select(Gold).order_by(Gold.id))]


def judged(engine: Engine, cast: Cast, **values: Any) -> tuple[int, int]:
    """A label of Mary's and its task."""
    with write_session(engine) as session:
        label = judge(session, session.get_one(Project, cast.demo), cast.mary, **values)
        return label.id, label.task_id


def test_what_all_agreed_on_becomes_a_known_answer(open_as: Open, engine: Engine, cast: Cast) -> None:
    task = agreed(engine, cast)
    page = open_as("Grace")
    problems = watch(page)
    page.goto("/projects/demo/agreement", wait_until="networkidle")
    tab_to(page, page.get_by_role("link", name="Known answers and repeats"))
    press(page, "Enter")
    page.wait_for_url("**/projects/demo/gold")
    tab_to(page, page.get_by_role("button", name="Make it a known answer"))
    press(page, "Enter")

    row = page.get_by_role("table", name="Known answers").get_by_role("row").nth(1)
    expect(row).to_contain_text("The second is better")
    expect(page.get_by_role("status")).to_contain_text("It is asked now and then, among the other tasks.")
    assert known(engine) == [(task, "second", None)]
    tab_to(page, row.get_by_role("button", name="Ask it no more"))
    press(page, "Enter")
    expect(row).to_contain_text("put away")
    assert problems == []


@pytest.mark.parametrize(
    ("said", "keys", "expected"),
    [({"choice": "left"}, ["ArrowDown", "ArrowDown"], ("tie", None)), ({"overall": 2}, ["5"], (None, 5))],
    ids=["comparison", "rating"],
)
def test_an_admin_says_what_is_right(
    open_as: Open, engine: Engine, cast: Cast, said: dict[str, Any], keys: list[str], expected: tuple[object, object]
) -> None:
    label, task = judged(engine, cast, **said)
    page = open_as("Grace")
    page.goto(f"/labels/{label}", wait_until="networkidle")
    tab_to(page, page.get_by_role("link", name="Say what is right, and ask it as a known answer"))
    press(page, "Enter")
    page.wait_for_url(f"**/projects/demo/gold?task={task}**")
    right = page.get_by_role("combobox", name="Right")
    expect(right).to_be_in_viewport()
    tab_to(page, right, most=4)  # from what it asks, not from the top of the page
    press(page, *keys, "Tab", "Enter")
    expect(page.get_by_role("status")).to_contain_text("It is asked now and then, among the other tasks.")
    assert known(engine) == [(task, *expected)]


@pytest.mark.parametrize(("scheme", "locale", "width"), [("light", "en-GB", 1280), ("dark", "zh-TW", 360)])
def test_its_page_fits_any_screen_and_everybody_can_use_it(
    open_as: Open, engine: Engine, cast: Cast, scheme: str, locale: str, width: int
) -> None:
    agreed(engine, cast)
    _, task = judged(engine, cast, choice="left")
    page = open_as("Grace", viewport={"width": width, "height": 800}, color_scheme=scheme, locale=locale)
    page.goto(f"/projects/demo/gold?task={task}", wait_until="networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == ""
