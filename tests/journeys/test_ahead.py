"""The next task is there before it is asked for: at once on the screen, blind, kept while one reads, given back unused."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Response, expect
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Project, Seat, utc_now
from app.queue.claim import claim_next
from bench.browser import STOPWATCH
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.journeys.desk import Open, all_saved, fetched_ahead, go, judge, press, stored, task_on, until

pytestmark = pytest.mark.journey
AHEAD = "document.getElementById('ahead').content.firstElementChild"


def seat_of(engine: Engine, task_id: int) -> Seat:
    with read_session(engine) as session:
        seat = session.scalars(select(Seat).where(Seat.task_id == task_id)).one()
        session.expunge(seat)
        return seat


def test_the_next_pair_is_on_the_screen_at_once_and_no_page_is_loaded(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 12)
    page = open_as("Mary")
    go(page)
    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    page.evaluate(STOPWATCH)

    for _ in range(10):
        ahead = fetched_ahead(page)
        judge(page, "1")
        assert task_on(page) == ahead
    laps = until(page, "window.laps.length === 10 && window.laps")

    all_saved(page)
    assert loads == []
    assert sorted(laps)[5] < 100, laps
    expect(page.locator("#progress")).to_have_text("10 today, 2 left")
    expect(page.get_by_role("heading", name="Which answer is better?")).to_be_focused()


def test_an_unused_seat_is_given_back_when_the_page_is_left(open_as: Open, engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    page.clock.install()
    go(page)
    assert fetched_ahead(page) == second
    claim = str(page.evaluate(f"{AHEAD}.dataset.leaseUntil"))
    press(page, "Tab")  # somebody is there
    page.clock.fast_forward(200_000)
    until(page, f"{AHEAD}.dataset.leaseUntil !== '{claim}'")
    held = seat_of(engine, second)
    assert (held.annotator_id, held.state) == (cast.mary, "leased")

    page.goto("/account")
    deadline = time.monotonic() + 20
    while seat_of(engine, second).state != "free":
        assert time.monotonic() < deadline, "the seat was not given back"
        time.sleep(0.05)

    with write_session(engine) as session:
        got = claim_next(session.connection(), cast.demo, cast.alan, now=utc_now(), lease=timedelta(minutes=10))
    assert got is not None
    assert got.id == second
    assert seat_of(engine, first).annotator_id == cast.mary  # this one was seen, and its lease runs on
    go(page)
    assert task_on(page) == first


def test_a_seat_that_went_to_somebody_else_is_not_shown(open_as: Open, engine: Engine, cast: Cast) -> None:
    _, second, third = make_tasks(engine, cast.demo, 3)
    page = open_as("Mary")
    page.clock.install()
    go(page)
    assert fetched_ahead(page) == second
    with write_session(engine) as session:
        seat = session.scalars(select(Seat).where(Seat.task_id == second)).one()
        seat.annotator_id = cast.alan
    press(page, "1")

    with page.expect_response(f"**/api/v1/tasks/{second}/renew") as renewed:
        page.clock.fast_forward(200_000)  # a third of the lease
    assert renewed.value.status == 409
    until(page, f"Number({AHEAD}?.dataset.task) === {third}")


def test_a_part_whose_behaviour_does_not_arrive_is_asked_for_again(open_as: Open, engine: Engine, cast: Cast) -> None:
    page = open_as("Mary")
    tried: list[str] = []
    page.on("requestfailed", lambda request: tried.append(request.url))
    page.route("**/js/tool.js*", lambda route: route.abort())
    page.clock.install()
    go(page)
    expect(page.locator("#waiting")).to_be_visible()
    make_tasks(engine, cast.demo, 1)
    deadline = time.monotonic() + 90
    while not any("try=6" in url for url in tried):  # its four tries are over, and the task was asked for once more
        assert time.monotonic() < deadline, tried
        page.clock.run_for(1_000)  # it waits longer from try to try
        page.wait_for_timeout(20)
    expect(page.locator("form.task")).to_have_count(0)

    page.unroute("**/js/tool.js*")
    page.clock.resume()
    page.clock.fast_forward(60_000)
    expect(page.locator("form.task")).to_be_visible(timeout=15_000)
    press(page, "s")
    expect(page.locator(".skip[open]")).to_be_visible()


def test_nothing_that_is_fetched_ahead_tells_who_wrote_what(open_as: Open, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        other = factories.make_checkpoint(session, project.id, name=factories.written("policy-of-round-9"))
        for task in [factories.make_task(session, project) for _ in range(3)]:
            prompt = factories.make_prompt(session, project.id)
            high: dict[str, Any] = {"id": 9_000_001} if task.id == 1 else {}  # the next ones follow it
            task.first_generation_id = factories.make_generation(session, prompt, other.id, seed=424242, **high).id
    page = open_as("Mary")
    replies: list[Response] = []
    page.on("response", lambda reply: replies.append(reply))
    go(page)
    judge(page, "1")
    all_saved(page)
    fetched_ahead(page)

    asked = [reply for reply in replies if "/static/" not in reply.url]
    assert sum(reply.url.endswith("/annotate/next") for reply in asked) >= 2
    for reply in asked:
        body = reply.text() if reply.status == 200 or reply.status == 201 else ""
        seen = reply.url + json.dumps(reply.headers) + body
        for trace in ("policy-of-round-9", "900000", "424242", "models/tiny", "checkpoint", "generation"):
            assert trace not in seen, f"{trace} in {reply.url}"


def test_a_reload_while_a_verdict_is_on_its_way_does_not_ask_the_task_again(open_as: Open, engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    fetched_ahead(page)
    page.route("**/api/v1/tasks/*/label", lambda route: route.abort())
    assert judge(page, "1") == first
    expect(page.locator(".save-state")).to_contain_text("not saved yet")
    page.evaluate("window.onbeforeunload = null")
    page.reload()
    expect(page.locator(f"#desk > [data-task='{first}'][inert]")).to_be_visible()  # it rests until it is known
    page.unroute("**/api/v1/tasks/*/label")

    expect(page.locator(f"#desk > [data-task='{second}']")).to_be_visible(timeout=15_000)
    all_saved(page)
    assert [(label.task_id, label.version) for label in stored(engine)] == [(first, 1)]


def test_differences_are_shown_by_words(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    page = open_as("Mary")
    go(page)
    cases = [
        ("The cat sat down.", "The dog sat down.", ["same:The ", "out:cat", "in:dog", "same: sat down."]),
        ("one two", "one two three", ["same:one two", "in: three"]),
        ("So it goes on.", "My own words on.", ["out:So it goes", "in:My own words", "same: on."]),
        ("", "new", ["in:new"]),
        ("gone", "", ["out:gone"]),
        ("same", "same", ["same:same"]),
        ("\u4eca\u5929\u5929\u6c23\u5f88\u597d", "\u660e\u5929\u5929\u6c23\u5f88\u597d", None),
    ]
    source = page.evaluate("document.querySelector('link[rel=modulepreload][href$=\"word_diff.js\"]').href")
    for before, after, want in cases:
        found = page.evaluate(
            "async ([source, before, after]) => (await import(source)).wordDiff(before, after)", [source, before, after]
        )
        if want is not None:
            assert [f"{kind}:{text}" for kind, text in found] == want
        assert "".join(text for kind, text in found if kind != "in") == before
        assert "".join(text for kind, text in found if kind != "out") == after
    words = " ".join(f"word{number}" for number in range(6000))
    other = " ".join(f"word{number + 1}" for number in range(0, 12000, 2))
    took = page.evaluate(
        "async ([source, before, after]) => { const { wordDiff } = await import(source); const began = performance.now();"
        " wordDiff(before, after); return performance.now() - began; }",
        [source, words, other],
    )
    assert took < 2000
    long = " ".join(f"w{number} and so" for number in range(5_000))
    edited = long.replace("w2500", "W").replace("w4000", "one more w4000")
    pieces, took = page.evaluate(
        "async ([source, before, after]) => { const { wordDiff } = await import(source); const began = performance.now();"
        " return [wordDiff(before, after), performance.now() - began]; }",
        [source, long, edited],
    )
    assert [text for kind, text in pieces if kind != "same"] == ["w2500", "W", " one more"]
    assert took < 2000
