"""Reading two answers: what is cut or goes on says so, keys scroll, words that differ are marked, and nothing is lost by it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Generation, Project, Task
from tests.app import factories
from tests.app.conftest import Cast
from tests.journeys.desk import Open, go, judge, press, until
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey

LONG = "\n\n".join(f"Paragraph {number} says that water is wet and the sky is blue." for number in range(40))
TOPS = "[...document.querySelectorAll('#desk .pane__text')].map((text) => Math.round(text.scrollTop))"
MORE = "[...document.querySelectorAll('#desk .pane')].map((pane) => pane.hasAttribute('data-more'))"
SHARES = (
    "[...document.querySelectorAll('#desk .pane__text')].map((text) =>"
    " Math.round(100 * text.scrollTop / (text.scrollHeight - text.clientHeight)))"
)


def pair(engine: Engine, cast: Cast, first: str, second: str, *, display: str = "written") -> None:
    """A comparison of these two answers, of which the length limit ended the first."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.text_display = display
        task = factories.make_task(session, project)
        answers = (first, "length"), (second, "eos")
        for generation_id, (text, ended) in zip(ids(task), answers, strict=True):
            generation = session.get_one(Generation, generation_id)
            generation.text, generation.finish_reason = text, ended


def ids(task: Task) -> tuple[int, int]:
    assert task.second_generation_id is not None
    return task.first_generation_id, task.second_generation_id


def marked(page: Page) -> list[list[str]]:
    panes = page.locator("#desk .pane__text").all()
    return sorted([mark.text_content() or "" for mark in pane.locator("mark").all()] for pane in panes)


def test_long_and_cut_answers_say_so_and_scroll_by_key(open_as: Open, engine: Engine, cast: Cast) -> None:
    pair(engine, cast, LONG + " And then the", LONG + LONG + " The end.")
    page = open_as("Mary", viewport={"width": 1280, "height": 800})
    go(page)

    cut = page.locator("#desk .pane", has_text="And then the")
    expect(page.locator("#desk .cut-off")).to_have_text("cut off at the length limit")
    expect(cut.locator(".cut-off")).to_have_count(1)
    assert page.evaluate(MORE) == [True, True]
    expect(page.locator(".pane__more").first).to_have_text("more below j")

    press(page, "j")
    left, right = until(page, f"{TOPS}[0] > 0 && {TOPS}")
    assert right == 0
    press(page, "J")
    assert until(page, f"{TOPS}[1] > 0 && {TOPS}")[0] == left
    press(page, "k", "K")
    until(page, f"{TOPS}.every((top) => top === 0)")
    press(page, "t", "j")
    expect(page.locator("[data-together]")).to_have_attribute("aria-pressed", "true")
    until(page, f"(([one, other]) => one > 0 && Math.abs(one - other) < 2)({SHARES})")
    for _ in range(12):
        press(page, "J")
    until(page, f"{MORE}.every((more) => !more)")
    page.evaluate(
        """(keys) => keys.forEach((key) =>
             document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })))""",
        [*12 * ["K"], "j"],
    )  # within one frame, as on a slow machine
    until(page, f"(([one, other]) => one > 0 && Math.abs(one - other) < 2)({SHARES})")
    page.reload()
    page.wait_for_load_state("networkidle")
    expect(page.locator("[data-together]")).to_have_attribute("aria-pressed", "true")

    judge(page, "1")
    page.goto("/labels/1")
    expect(page.locator(".pane", has_text="And then the").locator(".cut-off")).to_have_count(1)
    expect(page.locator(".cut-off")).to_have_count(1)


def test_words_that_differ_are_marked_where_they_stand_and_unmarked_without_a_trace(
    open_as: Open, engine: Engine, cast: Cast
) -> None:
    first = "The **cat** sat on `one_mat` today.\n\n\u202eturned"
    pair(engine, cast, first, first.replace("cat", "dog"), display="markdown")
    page = open_as("Mary")
    go(page)
    texts = "[...document.querySelectorAll('#desk .pane__text')].map((pane) => pane.innerHTML)"
    before = page.evaluate(texts)

    press(page, "d")
    assert marked(page) == [["cat"], ["dog"]]
    expect(page.locator("#desk .pane__text strong > mark")).to_have_count(2)
    expect(page.locator("#desk .unseen")).to_have_count(2)
    expect(page.get_by_text("What only one of the two answers says is underlined.")).to_be_visible()
    assert axe(page) == ""
    press(page, "d")
    assert page.evaluate(texts) == before
    judge(page, "1")

    pair(engine, cast, "Just the same.", "Just the same.")
    go(page)
    press(page, "d")
    expect(page.get_by_text("Word for word, the two answers are the same.")).to_be_visible()
    assert marked(page) == [[], []]
