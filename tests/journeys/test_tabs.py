"""Two tabs of one person: one task is judged in one of them, and neither loses what the other keeps."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.journeys.desk import Open, all_saved, fetched_ahead, go, judge, press, stored, task_on
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey

NOTICE = "This task is open in another tab of yours"


def test_the_second_tab_says_that_the_first_has_the_task(open_as: Open, engine: Engine, cast: Cast) -> None:
    first, second, third = make_tasks(engine, cast.demo, 3)
    one = open_as("Mary")
    go(one)
    other = one.context.new_page()
    go(other)
    expect(other.get_by_text(NOTICE)).to_be_visible()
    expect(one.get_by_text(NOTICE)).to_be_hidden()
    assert axe(other) == ""

    press(other, "1", "Enter", "2")
    assert task_on(other) == first
    expect(other.locator("[name=choice]:checked")).to_have_count(0)
    press(one, "2")  # begun here
    other.get_by_role("button", name="Work here instead").click()
    expect(other.get_by_text(NOTICE)).to_be_hidden()
    expect(one.get_by_text(NOTICE)).to_be_visible()
    expect(other.locator("[name=choice][value=right]")).to_be_checked()
    judge(other)

    expect(one.locator(f"#desk > [data-task='{first}']")).to_have_count(0)  # judged: it goes on by itself
    all_saved(other)
    assert [(label.task_id, label.choice) for label in stored(engine)] == [(first, "right")]
    assert {task_on(one), task_on(other)} <= {second, third}
    resting = other.locator("#desk[inert]").count() + one.locator("#desk[inert]").count()
    assert resting == (1 if task_on(one) == task_on(other) else 0)


def test_two_tabs_keep_what_each_could_not_send_and_what_an_older_page_kept(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 4)
    one = open_as("Mary")
    go(one)
    body = {"client_id": "00000000-0000-4000-8000-000000000007", "choice": "tie"}
    older = json.dumps([{"task": str(fetched_ahead(one)), "body": body}])
    other = one.context.new_page()
    go(other)
    for page in (one, other):
        fetched_ahead(page)
        page.route("**/api/v1/tasks/*/label", lambda route: route.abort())
    assert judge(one, "1") != judge_there(other, "2")
    one.evaluate("([key, list]) => localStorage.setItem(key, list)", [f"tastemaker.outbox.{cast.mary}", older])
    for page in (one, other):
        expect(page.locator(".save-state")).to_contain_text("not saved yet: 3", timeout=15_000)

    other.close()
    one.unroute("**/api/v1/tasks/*/label")
    all_saved(one)
    assert sorted(label.choice or "" for label in stored(engine)) == ["left", "right", "tie"]


def judge_there(page: Page, key: str) -> int:
    """In a tab whose task another one has: somebody chooses to work there."""
    if page.locator("#desk[inert]").count():
        page.get_by_role("button", name="Work here instead").click()
    return judge(page, key)
