"""Keys: they close what they opened, walk where people look, save only what is seen, and lead back as far as the list does."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine, select

from app.database.engine import read_session
from app.models import Skip
from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.journeys.desk import PAGE, Open, all_saved, fetched_ahead, go, judge, press, stored, task_on

pytestmark = pytest.mark.journey


def test_escape_closes_what_a_key_opened_and_enter_sends_only_what_is_seen(open_as: Open, engine: Engine, cast: Cast) -> None:
    task, _ = make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    opened = page.locator("#desk details[open]")

    for key in ("s", "f", "F", "e", "E"):
        press(page, key)
        expect(opened).to_have_count(1)
        press(page, "Escape")
        expect(opened).to_have_count(0)
    for key, name in (("g", "Guidelines"), ("?", "Keys")):
        press(page, key)
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        press(page, "Enter", "Escape")
        expect(page.get_by_role("dialog", name=name)).to_be_hidden()

    press(page, "e")
    page.keyboard.type("Mine: ")
    press(page, "Escape", "Escape")  # leaves the box; what is part of the verdict stays on the screen
    expect(page.locator("[name='rewrite.left']")).to_be_visible()
    page.locator("[name='rewrite.left']").fill("")
    press(page, "Escape")
    expect(opened).to_have_count(0)

    press(page, "1", "s", "ArrowDown")  # a reason is chosen
    page.evaluate("document.querySelector('.skip').open = false")  # as a click on its summary does, the focus inside
    press(page, "s")
    page.evaluate("document.activeElement.blur()")
    press(page, "Enter")  # not the verdict while the reason is asked
    expect(page.locator(".skip input").first).to_be_focused()
    assert task_on(page) == task
    page.evaluate("document.querySelector('.skip').open = false")
    press(page, "Enter")  # not the skip, which is not on the screen
    expect(page.locator("#last-verdicts li")).to_have_text(["A"])
    all_saved(page)
    assert [(label.task_id, label.choice, label.rewrite) for label in stored(engine)] == [(task, "left", None)]
    with read_session(engine) as session:
        assert session.scalars(select(Skip)).all() == []


def test_the_mark_walks_by_itself_while_somebody_rates(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2, kind="rating")
    page = open_as("Mary")
    go(page)
    marked = page.locator("#desk [data-marked] legend")

    expect(marked).to_contain_text("Overall")
    press(page, "4")
    expect(marked).to_contain_text("Fluency")
    press(page, "2")
    expect(marked).to_contain_text("Accuracy")
    press(page, "5", "3")  # the last row stays marked: one may think again
    press(page, "ArrowUp", "ArrowUp", "5")
    judge(page)

    all_saved(page)
    (label,) = stored(engine)
    assert (label.overall, label.criteria) == (5, {"fluency": 2, "accuracy": 3})


def test_undo_leads_as_far_back_as_the_list_and_a_verdict_is_withdrawn(open_as: Open, engine: Engine, cast: Cast) -> None:
    first, second, third, fourth, in_hand = make_tasks(engine, cast.demo, 5)
    page = open_as("Mary")
    go(page)
    for key in ("1", "2"):
        judge(page, key)
    all_saved(page)
    go(page)  # those two are the server's to list now
    fetched_ahead(page)
    judge(page, "0")
    fetched_ahead(page)
    judge(page, "9")
    desk = "#desk > [data-task='{}']"

    for task in (fourth, third, second, first):
        press(page, "u")
        expect(page.locator(desk.format(task))).to_be_visible()
        expect(page.get_by_text("You answered this one before")).to_be_visible()
    press(page, "u")
    assert task_on(page) == first, "that is where the list ends"
    press(page, "w")
    expect(page.locator(desk.format(in_hand))).to_be_visible()
    expect(page.locator("#last-verdicts li").first).to_have_text("withdrawn")
    all_saved(page)
    expect(page.locator("#progress")).to_have_text("3 today, 1 left")
    versions = [(label.task_id, label.version, label.current, label.withdrawn) for label in stored(engine)]
    assert versions[-1] == (first, 2, False, True)
    assert (first, 1, False, False) in versions

    press(page, "u")
    expect(page.get_by_text("You withdrew your verdict on this one")).to_be_visible()
    press(page, "w")  # nothing to withdraw
    judge(page, "2")
    all_saved(page)
    assert [(label.version, label.choice, label.current) for label in stored(engine) if label.task_id == first] == [
        (1, "left", False),
        (2, "left", False),
        (3, "right", True),
    ]
    page.goto(f"{PAGE}?task={first}")
    expect(page.locator("[data-undo]")).to_have_attribute("data-reopens", str(fourth))
