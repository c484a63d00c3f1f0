"""What people differ on, by keys alone: a reviewer settles it or sends a verdict back, and whoever gave it answers."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine, select

from app.database.engine import read_session
from app.models import Dispute, Doubt, Label
from tests.app.conftest import Cast
from tests.app.quality.adjudication.differing import open_dispute
from tests.journeys.desk import Open, press, stored, tab_to, watch
from tests.journeys.test_looks import axe

pytestmark = pytest.mark.journey


# Where the window stands when the upper edge of the bar at its foot goes through a control.
AT_THE_BAR = """() => {
  const edge = innerHeight - scrollY - document.querySelector(".verdict-bar").getBoundingClientRect().height;
  const middles = [...document.querySelectorAll("summary, .flag input")].map((one) => {
    const box = one.getBoundingClientRect();
    return Math.round((box.top + box.bottom) / 2 - edge);
  });
  return [...new Set(middles)].filter((one) => one >= 0);
}"""


def states(engine: Engine) -> dict[int, str]:
    with read_session(engine) as session:
        return dict(session.execute(select(Dispute.id, Dispute.state)).all())


def said(cast: Cast, *choices: str) -> dict[int, dict[str, object]]:
    """Mary and Grace differ."""
    return {person: {"choice": choice} for person, choice in zip((cast.mary, cast.grace), choices, strict=True)}


def at(page: Page, dispute: int) -> None:
    page.wait_for_url(f"**/projects/demo/disputes/{dispute}")
    page.wait_for_load_state("networkidle")


def test_a_reviewer_settles_one_after_the_other(open_as: Open, engine: Engine, cast: Cast) -> None:
    first, _ = open_dispute(engine, cast.demo, said(cast, "left", "tie"))
    rated = {person: {"overall": score} for person, score in ((cast.mary, 1), (cast.grace, 5))}
    second, _ = open_dispute(engine, cast.demo, rated, "rating")
    page = open_as("Alan")
    problems = watch(page)
    page.goto("/projects/demo/disputes", wait_until="networkidle")

    press(page, "n")
    at(page, first)
    press(page, "2")
    tab_to(page, page.get_by_text("Add a comment"))
    press(page, "Enter")
    page.keyboard.type("B names its source.")
    press(page, "Control+Enter")
    at(page, second)
    expect(page.get_by_role("status")).to_contain_text("It is settled.")
    press(page, "4", "Enter")
    page.wait_for_url("**/projects/demo/disputes")

    assert states(engine) == {first: "settled", second: "settled"}
    settled = [(label.choice, label.overall, label.comment) for label in stored(engine) if label.annotator_id == cast.alan]
    assert settled == [("right", None, "B names its source."), (None, 4, "")]
    assert problems == []


def test_a_verdict_is_sent_back_and_its_person_answers(open_as: Open, engine: Engine, cast: Cast) -> None:
    dispute, task = open_dispute(engine, cast.demo, said(cast, "left", "tie"))
    page = open_as("Alan")
    page.goto(f"/projects/demo/disputes/{dispute}", wait_until="networkidle")

    press(page, "b")
    whose = page.get_by_role("radio", name="Person 2")
    expect(page.get_by_role("radio", name="Person 1")).to_be_focused()
    press(page, "ArrowDown")
    expect(whose).to_be_checked()
    label_id = int(whose.get_attribute("value") or 0)
    press(page, "Tab")
    page.keyboard.type("Did you read B to its end? 1 2")
    press(page, "Control+Enter")
    page.wait_for_url("**/projects/demo/disputes")

    assert states(engine) == {dispute: "doubted"}
    with read_session(engine) as session:
        doubt = session.scalars(select(Doubt)).one()
        asked = session.get_one(Label, label_id).annotator_id
        assert (doubt.label_id, doubt.comment) == (label_id, "Did you read B to its end? 1 2")
    assert [label.annotator_id for label in stored(engine)] == [cast.mary, cast.grace]  # nothing was settled beside

    theirs = open_as("Mary" if asked == cast.mary else "Grace")
    theirs.goto("/projects/demo/work", wait_until="networkidle")
    tab_to(theirs, theirs.get_by_role("textbox", name="Or say why it stays"))
    theirs.keyboard.type("I did; it stands.")
    press(theirs, "Tab", "Enter")
    expect(theirs.get_by_role("status")).to_contain_text("Your answer is there.")
    with read_session(engine) as session:
        assert session.scalars(select(Doubt.answer)).one() == "I did; it stands."
    assert states(engine) == {dispute: "open"}
    assert task


@pytest.mark.parametrize(("scheme", "locale", "width"), [("light", "en-GB", 1280), ("dark", "zh-TW", 360)])
def test_its_pages_fit_any_screen_and_everybody_can_use_them(
    open_as: Open, engine: Engine, cast: Cast, scheme: str, locale: str, width: int
) -> None:
    """Wherever the window stands, and with what a key opens."""
    dispute, _ = open_dispute(engine, cast.demo, said(cast, "left", "tie"))
    page = open_as("Alan", viewport={"width": width, "height": 740}, color_scheme=scheme, locale=locale)
    for path in ("/projects/demo/disputes", f"/projects/demo/disputes/{dispute}"):
        page.goto(path, wait_until="networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert axe(page) == ""
    press(page, "b")
    page.locator("#question").focus()
    press(page, "f", "F")
    assert page.locator("details[open]").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == ""


def test_on_a_phone_the_bar_covers_half_of_no_control(open_as: Open, engine: Engine, cast: Cast) -> None:
    """It rests where the verdict is asked for: a reviewer has read what others said before that."""
    spoken = {
        person: {"choice": choice, "comment": "Because. " * 40} for person, choice in ((cast.mary, "left"), (cast.grace, "tie"))
    }
    dispute, _ = open_dispute(engine, cast.demo, spoken)
    page = open_as("Alan", viewport={"width": 360, "height": 640}, color_scheme="dark", locale="zh-TW")
    page.goto(f"/projects/demo/disputes/{dispute}", wait_until="networkidle")
    press(page, "f", "F")
    positions = page.evaluate(AT_THE_BAR)
    assert len(positions) > 5
    for height in positions:
        page.evaluate(f"window.scrollTo(0, {height})")
        assert axe(page) == "", f"scrolled by {height} px"
