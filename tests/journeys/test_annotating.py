"""Annotating in a real browser: by keyboard, through a lost network, a killed tab, a reload."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect
from sqlalchemy import Engine, delete, select

from app.db import read_session, write_session
from app.models import Generation, Label, Project, Run, SignInSession, Skip
from app.security import session_cookie
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labeling.test_claim import make_tasks

pytestmark = pytest.mark.journey

Open = Callable[..., Page]
PAGE = "/projects/demo/annotate"


def stored(engine: Engine) -> list[Label]:
    with read_session(engine) as session:
        found = list(session.scalars(select(Label).order_by(Label.id)))
        session.expunge_all()
        return found


def watch(page: Page) -> list[str]:
    """What the console complains of."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


def go(page: Page) -> None:
    """To the next task, once its scripts are there."""
    page.goto(PAGE)
    page.wait_for_load_state("networkidle")


def test_ten_comparisons_by_keyboard_alone(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 11)
    page = open_as("Mary")
    said = watch(page)
    go(page)

    for number, key in enumerate("1290129012", start=1):
        expect(page.locator(".bar__figure")).to_have_text(f"{number - 1} today, {12 - number} left")
        page.wait_for_load_state("networkidle")
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    expect(page.locator(".bar__figure")).to_have_text("10 today, 1 left")

    words = {"1": "left", "2": "right", "0": "tie", "9": "both_bad"}
    assert [label.choice for label in stored(engine)] == [words[key] for key in "1290129012"]
    assert all(label.interface_version == "page 1" for label in stored(engine))
    expect(page.locator(".last-verdicts li")).to_have_count(10)
    assert said == []


def test_five_ratings_by_keyboard_alone(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 5, kind="rating")
    page = open_as("Mary")
    said = watch(page)
    go(page)

    for number in range(5):
        expect(page.locator(".bar__figure")).to_contain_text(f"{number} today")
        page.wait_for_load_state("networkidle")
        expect(page.locator("[data-marked]")).to_contain_text("Overall")
        page.keyboard.press(str(number + 1))
        page.keyboard.press("ArrowDown")
        page.keyboard.press("4")
        page.keyboard.press("Tab")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
    expect(page.locator(".bar__figure")).to_have_text("5 today")

    assert [(label.overall, label.criteria) for label in stored(engine)] == [
        (score, {"fluency": 4, "accuracy": 2}) for score in range(1, 6)
    ]
    assert all(label.active_ms is None or label.active_ms < 60_000 for label in stored(engine))
    assert said == []


def test_skip_undo_flags_rewrite_and_comment(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 3)
    page = open_as("Mary")
    go(page)
    shown = page.locator(".pane__text").nth(1).inner_text()

    page.keyboard.press("2")
    page.get_by_label("clearly").click(force=True)
    page.keyboard.press("F")
    page.locator("[name='flags.right']").first.check()
    page.keyboard.press("E")
    box = page.locator("[name='rewrite.right']")
    expect(box).to_have_value(shown)
    box.fill(shown + " And 1, 2, s are typed, not pressed.")
    page.get_by_text("Add a comment").click()
    page.get_by_label("Comment").fill("Needs a source.")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".bar__figure")).to_contain_text("1 today")
    page.wait_for_load_state("networkidle")

    (label,) = stored(engine)
    assert (label.choice, label.strength, label.flags, label.comment) == ("right", 2, {"right": ["unsafe"]}, "Needs a source.")
    assert label.rewrite == {"side": "right", "text": shown + " And 1, 2, s are typed, not pressed."}

    page.keyboard.press("s")
    expect(page.locator(".last-verdicts li").first).to_have_text("skipped")
    page.locator(".last-verdicts a", has_text="B clearly").click()
    expect(page.get_by_text("You answered this one before")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.locator("[name=choice][value=right]")).to_be_checked()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("You answered this one before")).to_be_hidden()
    page.wait_for_load_state("networkidle")
    assert [(label.version, label.choice) for label in stored(engine)] == [(1, "right"), (2, "left")]
    page.keyboard.press("u")
    expect(page.locator("[name=choice][value=left]")).to_be_checked()
    with read_session(engine) as session:
        assert len(session.scalars(select(Skip)).all()) == 1


def test_a_lost_network_loses_no_verdict_and_says_so(open_as: Open, engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    page.context.set_offline(True)

    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".save-state")).to_contain_text("not saved yet")
    assert stored(engine) == []

    page.context.set_offline(False)
    expect(page.locator(".bar__figure")).to_have_text("1 today, 1 left", timeout=15_000)
    expect(page.locator(".save-state")).to_have_text("All saved")
    assert [label.choice for label in stored(engine)] == ["left"]


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


def test_signing_in_again_sends_what_was_kept(
    open_as: Open, engine: Engine, cast: Cast, settings: Settings, address: str
) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    with write_session(engine) as session:
        session.execute(delete(SignInSession))
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".save-state")).to_contain_text("Sign in again")

    with write_session(engine) as session:
        secret = factories.make_sign_in(session, cast.mary)
    page.context.add_cookies([{"name": session_cookie(settings), "value": secret, "url": address}])

    expect(page.locator(".bar__figure")).to_have_text("1 today, 1 left", timeout=20_000)
    assert [label.choice for label in stored(engine)] == ["left"]


def test_what_was_kept_is_not_sent_as_somebody_else(
    open_as: Open, engine: Engine, cast: Cast, settings: Settings, address: str
) -> None:
    make_tasks(engine, cast.demo, 2)
    page = open_as("Mary")
    go(page)
    with write_session(engine) as session:
        session.execute(delete(SignInSession))
        secret = factories.make_sign_in(session, cast.alan)
    page.context.add_cookies([{"name": session_cookie(settings), "value": secret, "url": address}])
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


def test_an_empty_queue_looks_again_by_itself(open_as: Open, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo, state="running", step=3, total=40).id
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


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["comparison", "rating"])
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
