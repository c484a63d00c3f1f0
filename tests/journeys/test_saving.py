"""What is judged is kept until the server has it, under the person who judged it, and they are told."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import Engine, delete, update

from app.database.engine import write_session
from app.models import Project, SignInSession, User, utc_now
from app.settings import Settings
from app.web.security import hash_password, session_cookie
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.test_record import record, say
from tests.app.queue.test_claim import claimed, make_tasks
from tests.journeys.desk import PAGE, Open, all_saved, fetched_ahead, go, judge, press, stored, task_on
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey

SignIn = Callable[[Page, int], None]


@pytest.fixture
def sign_in_as(engine: Engine, settings: Settings, address: str) -> SignIn:
    """Gives the page's browser a sign-in of that person's, as if it had been done in another tab."""

    def give(page: Page, user_id: int) -> None:
        with write_session(engine) as session:
            secret = factories.make_sign_in(session, user_id)
        page.context.add_cookies([{"name": session_cookie(settings), "value": secret, "url": address}])

    return give


def end_sign_ins(engine: Engine) -> None:
    with write_session(engine) as session:
        session.execute(delete(SignInSession))


def test_an_answer_lost_on_its_way_back_is_asked_for_again_and_stored_once(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    lost: list[int] = []

    def lose_the_first_reply(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)  # stored, but nobody hears of it
        route.abort()

    page.route("**/api/v1/tasks/*/label", lose_the_first_reply)
    go(page)
    page.keyboard.press("2")
    page.keyboard.press("Enter")

    expect(page.locator(".bar__figure")).to_have_text("1 today, 1 left", timeout=15_000)
    assert lost == [201]
    assert [label.choice for label in stored(engine)] == ["right"]


def test_a_verdict_outlives_its_tab(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    page.route("**/api/v1/tasks/*/label", lambda route: route.abort())
    go(page)
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    expect(page.locator(".save-state")).to_contain_text("not saved yet")
    context = page.context
    page.close()
    assert stored(engine) == []

    page = context.new_page()
    go(page)

    expect(page.locator(".save-state")).to_have_text("All saved")
    assert [label.choice for label in stored(engine)] == ["tie"]


def test_signing_in_again_sends_what_was_kept(open_as: Open, engine: Engine, cast: Cast, sign_in_as: SignIn) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    end_sign_ins(engine)
    press(page, "1", "Enter")
    expect(page.locator(".save-state")).to_contain_text("Sign in again")

    sign_in_as(page, cast.mary)

    expect(page.locator(".bar__figure")).to_have_text("1 today, 1 left", timeout=20_000)
    assert [label.choice for label in stored(engine)] == ["left"]


def test_whoever_was_signed_out_signs_in_by_a_link_and_comes_back(
    open_as: Open, engine: Engine, cast: Cast, sign_in_as: SignIn
) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    with write_session(engine) as session:
        session.get_one(User, cast.mary).password_hash = hash_password("a long sentence of mine")
    page = open_as("Mary")
    page.goto(f"{PAGE}?task={judged_before(engine, cast, first)}")
    page.wait_for_load_state("networkidle")
    end_sign_ins(engine)
    expect(page.locator("#signed-out")).to_be_hidden()
    judge(page, "1")
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    assert axe(page) == ""
    press(page, "2")

    page.get_by_role("link", name="Sign in and come back here").click()
    page.get_by_label("Email").fill("mary@example.org")
    page.get_by_label("Password").fill("a long sentence of mine")
    page.get_by_role("button", name="Sign in").click()

    page.wait_for_url(f"**{PAGE}?task={first}")
    all_saved(page)
    assert [(label.task_id, label.choice) for label in stored(engine) if label.current] == [(first, "left")]
    go(page)
    assert task_on(page) == second
    expect(page.locator("[name=choice][value=right]")).to_be_checked()  # what was begun came back, too


def test_a_page_that_keeps_itself_current_says_that_the_session_is_over(
    open_as: Open, engine: Engine, cast: Cast, sign_in_as: SignIn
) -> None:
    page = open_as("Ada")
    page.clock.install()
    page.goto("/projects/demo")
    page.wait_for_load_state("networkidle")
    end_sign_ins(engine)
    page.clock.fast_forward(16_000)
    expect(page.get_by_role("link", name="Sign in and come back here")).to_have_attribute("href", "/sign-in?next=/projects/demo")
    expect(page.get_by_text("no answer from the server")).to_be_hidden()

    sign_in_as(page, cast.ada)
    page.clock.fast_forward(16_000)
    expect(page.get_by_text("You are signed out.")).to_be_hidden()


def judged_before(engine: Engine, cast: Cast, task_id: int) -> int:
    claimed(engine, cast.demo, cast.mary, utc_now())
    record(engine, task_id, cast.mary, say("tie"))
    return task_id


def test_what_was_kept_is_not_sent_as_somebody_else(open_as: Open, engine: Engine, cast: Cast, sign_in_as: SignIn) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    end_sign_ins(engine)
    sign_in_as(page, cast.alan)
    before = page.locator("meta[name=csrf-token]").get_attribute("content")
    page.keyboard.press("1")
    with page.expect_response(lambda reply: reply.url.endswith(PAGE) and reply.request.resource_type == "xhr"):
        page.keyboard.press("Enter")

    expect(page.locator(".save-state")).to_contain_text("Sign in again as yourself")
    page.wait_for_timeout(500)
    assert page.locator("meta[name=csrf-token]").get_attribute("content") == before
    assert stored(engine) == []


def test_a_draft_survives_a_reload(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    page = open_as("Mary")
    go(page)
    page.keyboard.press("9")
    page.get_by_text("Add a comment").click()
    page.get_by_label("Comment").fill("Half a thought")

    page.reload()
    page.wait_for_load_state("networkidle")

    expect(page.locator("[name=choice][value=both_bad]")).to_be_checked()
    expect(page.get_by_label("Comment")).to_have_value("Half a thought")


def test_a_refused_verdict_is_listed_until_it_is_dismissed(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2, kind="rating")
    page = open_as("Mary")
    go(page)
    fetched_ahead(page)
    with write_session(engine) as session:  # the page still shows the old criteria, and none of them is known any more
        gone = {"criteria": [], "retired": {"criteria": [], "flags": [], "rubric": [], "span_reasons": []}}
        session.execute(update(Project).where(Project.id == cast.demo).values(gone))
    refused = judge(page, "3", "2")

    expect(page.locator(".save-state")).to_have_text("Could not be saved: 1.")
    expect(page.locator(".outbox__entry")).to_contain_text("3 of 5")
    expect(page.locator(".outbox__entry")).to_contain_text("no criterion called fluency")
    page.reload()
    expect(page.locator(".save-state")).to_have_text("Could not be saved: 1.")
    assert task_on(page) == refused  # with its draft
    expect(page.locator("[name=overall][value='3']")).to_be_checked()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".save-state")).to_have_text("All saved")
    expect(page.locator(".outbox__entry")).to_have_count(0)
    assert stored(engine) == []


def test_a_browser_keeps_the_latest_drafts_and_no_more_than_it_has_room_for(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    page.evaluate(
        """() => { for (let task = 1000; task < 1030; task++) {
             localStorage.setItem(`tastemaker.draft.1.${task}`, JSON.stringify({ at: Date.now() - 100000 + task, fields: [] }));
           } }"""
    )
    go(page)
    kept = page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('tastemaker.draft.')).sort()")
    assert kept == [f"tastemaker.draft.1.{task}" for task in range(1010, 1030)]
    page.evaluate(
        """() => { for (const [task, days] of [[1027, 13], [1028, 15], [1029, 100]]) {
             const key = `tastemaker.draft.1.${task}`;
             localStorage.setItem(key, JSON.stringify({ at: Date.now() - days * 86400000, fields: [] }));
           } }"""
    )
    go(page)
    kept = page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('tastemaker.draft.')).sort()")
    assert kept == [f"tastemaker.draft.1.{task}" for task in range(1010, 1028)]
    page.evaluate(
        """() => { let filler = "x".repeat(2 ** 20); let at = 0;
             while (filler) try { localStorage.setItem(`tastemaker.draft.1.${at}`, filler); at++; }
             catch { filler = filler.slice(filler.length / 2 + 1); } }"""
    )
    page.get_by_text("Add a comment").click()
    page.get_by_label("Comment").fill("Kept all the same")
    page.reload()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_label("Comment")).to_have_value("Kept all the same")


def test_a_draft_survives_signing_out(open_as: Open, engine: Engine, cast: Cast, sign_in_as: SignIn) -> None:
    (task, _) = make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    press(page, "2", "e")
    page.keyboard.type("Begun: ")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    sign_in_as(page, cast.mary)
    go(page)

    assert task_on(page) == task
    expect(page.locator("[name=choice][value=right]")).to_be_checked()
    expect(page.locator("[name='rewrite.left']")).to_have_value(re.compile("Begun: "))
    expect(page.locator(".diff ins")).to_have_text(re.compile("Begun"))
    judge(page)
    all_saved(page)
    assert [(label.choice, label.task_id) for label in stored(engine)] == [("right", task)]
