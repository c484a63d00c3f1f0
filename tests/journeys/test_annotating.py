"""Annotating in a real browser: each kind of verdict, keys, undo, hostile text, any screen, and without scripts."""

from __future__ import annotations

from itertools import product

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Generation, Project, Prompt, Run, Seat, Skip
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.test_claim import make_tasks
from tests.app.rounds import told
from tests.journeys.desk import PAGE, Open, all_saved, fetched_ahead, go, judge, press, stored, task_on, watch

pytestmark = pytest.mark.journey


def test_each_kind_of_verdict(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 3)
    page = open_as("Mary")
    said = watch(page)
    go(page)
    fetched_ahead(page)
    shown = page.locator(".pane__text").nth(1).inner_text()

    press(page, "2")
    page.get_by_label("clearly").click(force=True)
    press(page, "F", "Space")
    press(page, "E")
    box = page.locator("[name='rewrite.right']")
    expect(box).to_have_value(shown)
    box.fill(shown + " And 1, 2, s are typed, not pressed.")
    page.get_by_text("Add a comment").click()
    page.get_by_label("Comment").fill("Needs a source.")
    page.get_by_text("Judge by criterion").click()
    page.get_by_role("group", name="Accuracy").get_by_label("A", exact=True).click(force=True)
    page.get_by_role("group", name="Fluency").get_by_label("Tie").click(force=True)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#last-verdicts li")).to_have_text(["B clearly"])

    (label,) = stored(engine)
    assert (label.choice, label.strength, label.flags, label.comment) == ("right", 2, {"right": ["unsafe"]}, "Needs a source.")
    assert label.rewrite == {"side": "right", "text": shown + " And 1, 2, s are typed, not pressed."}
    assert label.criteria == {"accuracy": "left", "fluency": "tie"}
    assert said == []


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, {"width": 390, "height": 844}])
def test_a_rewrite_and_its_differences_stand_above_the_bar_of_verdicts(
    open_as: Open, engine: Engine, cast: Cast, viewport: dict[str, int]
) -> None:
    make_tasks(engine, cast.demo, 1)
    page = open_as("Mary", viewport=viewport)
    go(page)
    press(page, "1", "e")
    page.keyboard.type("Mine: ")
    expect(page.locator(".diff ins")).to_be_visible()
    place = "(selector) => document.querySelector(selector).getBoundingClientRect()"
    assert page.evaluate(place, "details[open]")["bottom"] <= page.evaluate(place, ".verdict-bar")["top"]


@pytest.mark.parametrize("last", ["left", "right"])
def test_two_rewrites_are_refused_where_they_stand(open_as: Open, engine: Engine, cast: Cast, last: str) -> None:
    """Whichever was written last: opening one closes the other, and what a closed box says nobody reads."""
    make_tasks(engine, cast.demo, 1)
    page = open_as("Mary")
    go(page)
    keys = {"left": "e", "right": "E"}
    for side in sorted(keys, key=lambda side: side == last):
        press(page, keys[side])
        page.locator(f"[name='rewrite.{side}']").fill("Better words.")
        press(page, "Escape")

    press(page, "1", "Enter")
    said = page.locator(f"details:has([name='rewrite.{last}']) [data-only-one]")
    expect(said).to_have_text("Rewrite one answer, not both. Empty this box or the other, then save.")
    expect(said).to_be_visible()
    expect(page.locator(f"[name='rewrite.{last}']")).to_be_focused()
    assert stored(engine) == []

    press(page, "Escape", "2")
    expect(page.locator("[name=choice][value=right]")).to_be_checked()
    expect(said).to_be_visible()
    page.locator(f"[name='rewrite.{last}']").fill("")
    expect(said).to_be_hidden()
    press(page, "Escape", "Enter")
    expect(page.locator("#last-verdicts li")).to_have_count(1)
    (label,) = stored(engine)
    assert label.rewrite is not None
    assert label.rewrite["side"] != last


def test_skipping_asks_why_and_can_be_taken_back(open_as: Open, engine: Engine, cast: Cast) -> None:
    skipped, other = make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    fetched_ahead(page)

    press(page, "s", "ArrowDown", "Tab")
    page.keyboard.type("Too long for me")
    press(page, "Enter")
    expect(page.locator("#last-verdicts li")).to_have_text(["skipped"])
    assert task_on(page) == other
    with read_session(engine) as session:
        (skip,) = session.scalars(select(Skip))
        assert (skip.task_id, skip.annotator_id, skip.reason) == (skipped, cast.mary, "cannot_read: Too long for me")
        assert [seat.state for seat in session.scalars(select(Seat).where(Seat.task_id == skipped))] == ["free"]

    press(page, "u")
    expect(page.get_by_text("You skipped this one.")).to_be_visible()
    judge(page, "1")
    all_saved(page)
    assert [(label.task_id, label.choice) for label in stored(engine)] == [(skipped, "left")]
    assert task_on(page) == other


def test_any_of_the_last_ten_opens_again_even_after_a_reload(open_as: Open, engine: Engine, cast: Cast) -> None:
    first, _, third, _ = make_tasks(engine, cast.demo, 4)
    page = open_as("Mary")
    go(page)
    judge(page, "2")
    judge(page, "0")
    all_saved(page)
    page.reload()
    expect(page.locator("#last-verdicts li")).to_have_text(["tie", "B"])

    page.locator("#last-verdicts a", has_text="B").click()
    expect(page.get_by_text("You answered this one before")).to_be_visible()
    assert task_on(page) == first
    expect(page.locator("[name=choice][value=right]")).to_be_checked()
    judge(page, "1")
    expect(page.get_by_text("You answered this one before")).to_be_hidden()
    assert task_on(page) == third
    all_saved(page)

    versions = [(label.version, label.choice, label.current) for label in stored(engine) if label.task_id == first]
    assert versions == [(1, "right", False), (2, "left", True)]
    assert page.url.endswith(PAGE)


def test_a_long_conversation_shows_its_last_turn(open_as: Open, engine: Engine, cast: Cast) -> None:
    turns = [{"role": "system", "content": "Be brief."}]
    for number in range(8):
        turns.append({"role": "user", "content": f"Question {number} " * 30})
        turns.append({"role": "assistant", "content": f"Reply {number} " * 30})
    turns.append({"role": "user", "content": "And the last one?"})
    with write_session(engine) as session:
        task = factories.make_task(session, session.get_one(Project, cast.demo))
        session.get_one(Prompt, task.prompt_id).messages = turns
    page = open_as("Mary")
    go(page)

    expect(page.get_by_role("region", name="Conversation")).to_contain_text("Person")
    expect(page.get_by_text("And the last one?")).to_be_in_viewport()
    expect(page.get_by_role("group", name="A", exact=True)).to_be_in_viewport()


def test_keys_rest_while_typing_and_in_dialogs(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    page = open_as("Mary")
    go(page)

    page.get_by_text("Add a comment").click()
    page.get_by_label("Comment").press_sequentially("1 s u g ?")
    expect(page.locator("[name=choice]:checked")).to_have_count(0)
    page.get_by_label("Comment").blur()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("[name=choice]:checked")).to_have_count(0)
    page.keyboard.press("g")
    page.locator("body").press("Escape")
    page.keyboard.press("g")
    expect(page.get_by_role("dialog", name="Guidelines")).to_contain_text("Prefer the answer that is true.")
    assert stored(engine) == []


def test_how_much_better_is_said_by_key_once_a_side_is(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)

    judge(page, "7", "0")  # a tie has no strength, and neither has nothing
    judge(page, "2", "8")

    all_saved(page)
    assert [(label.choice, label.strength) for label in stored(engine)] == [("tie", None), ("right", 3)]


def test_an_empty_queue_looks_again_by_itself(open_as: Open, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, state="running", step=3, total=40).id
        told.a_worker(session)
    page = open_as("Mary")
    said = watch(page)
    page.clock.install()
    go(page)
    expect(page.locator("#waiting")).to_contain_text("3 of 40")

    with write_session(engine) as session:
        session.get_one(Run, run_id).step = 9
    page.clock.fast_forward(5_000)
    expect(page.locator("#waiting")).to_contain_text("9 of 40")
    make_tasks(engine, cast.demo, 1)
    page.clock.fast_forward(5_000)
    expect(page.locator("form.task")).to_be_visible()
    assert said == []


def test_hostile_text_stays_text(open_as: Open, engine: Engine, cast: Cast) -> None:
    hostile = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\n\u202eright to left"
    with write_session(engine) as session:
        task = factories.make_task(session, session.get_one(Project, cast.demo))
        for generation_id in (task.first_generation_id, task.second_generation_id):
            session.get_one(Generation, generation_id).text = hostile + str(generation_id)
    page = open_as("Mary")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    go(page)

    expect(page.locator(".pane__text").first).to_contain_text("<script>document.title='taken'</script>")
    expect(page.locator(".unseen").first).to_have_text("U+202E")
    assert page.title() != "taken"
    assert not any(url.endswith("/x") for url in asked)


def test_it_works_without_scripts(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary", java_script_enabled=False)
    go(page)

    page.locator("[name=choice][value=right]").check(force=True)
    page.get_by_role("button", name="Save").click()

    expect(page.locator(".bar__figure")).to_have_text("1 today, 1 left")
    assert [label.choice for label in stored(engine)] == ["right"]


VIEWS = list(product(("comparison", "rating"), ("light", "dark"), (360, 1280)))
SUITE = [("comparison", "light", 360), ("comparison", "dark", 1280), ("rating", "dark", 360)]
NIGHT = [pytest.param(*view, marks=pytest.mark.nightly) for view in VIEWS if view not in SUITE]


@pytest.mark.parametrize(("kind", "scheme", "width"), [*SUITE, *NIGHT])
def test_the_page_fits_and_everybody_can_use_it(
    open_as: Open, engine: Engine, cast: Cast, width: int, scheme: str, kind: str
) -> None:
    make_tasks(engine, cast.demo, 1, kind=kind)
    page = open_as("Mary", color_scheme=scheme, viewport={"width": width, "height": 740}, reduced_motion="reduce")
    go(page)
    page.keyboard.press("f")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
    assert found.violations_count == 0, found.generate_report()


def test_reading_on_keeps_the_task(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    page = open_as("Mary")
    page.clock.install()
    go(page)
    page.clock.fast_forward(200_000)  # nobody moved: nothing is renewed
    page.keyboard.press("1")

    with page.expect_response("**/renew") as renewed:
        page.clock.fast_forward(200_000)  # a third of the lease

    assert renewed.value.status == 200
