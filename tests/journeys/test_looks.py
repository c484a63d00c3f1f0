"""How pages look and whether everybody can use them: axe in both themes, 360 px wide, nothing in the console."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Project, Run
from app.settings import Settings
from tests.app.conftest import Cast
from tests.app.rounds.told import tell, write_run
from tests.app.tour import PAGES, furnish

pytestmark = pytest.mark.journey

Open = Callable[..., Page]
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture
def ids(engine: Engine, cast: Cast, settings: Settings) -> dict[str, int]:
    with write_session(engine) as session:
        return furnish(session, cast, settings)


def axe(page: Page) -> str:
    """What axe-core objects to, as a report; empty when nothing."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": STANDARDS}})
    return str(found.generate_report()) if found.violations_count else ""


# Who looks: theme, browser's language, width. In the suite each page is looked at once, by one of two who differ in all of them;
# the night takes every page in every view.
VIEWS = list(product(("light", "dark"), ("en-GB", "zh-TW"), (1280, 360)))
SUITE = [
    pytest.param("light", "en-GB", 1280, PAGES[::2], id="every other page"),
    pytest.param("dark", "zh-TW", 360, PAGES[1::2], id="the pages between"),
]
NIGHT = [pytest.param(*view, PAGES, id=" ".join(map(str, view)), marks=pytest.mark.nightly) for view in VIEWS]


# Everything is opened, and the bar at the window's foot rests at its own place: what is under it comes into view by scrolling,
# and axe judges nothing that is covered.
OPENED = """() => {
  document.querySelectorAll("details").forEach((one) => { one.open = true });
  document.querySelectorAll(".verdict-bar").forEach((one) => { one.style.position = "static" });
}"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("scheme", "locale", "width", "paths"), [*SUITE, *NIGHT])
def test_every_page_fits_is_for_everybody_and_leaves_the_console_silent(
    open_as: Open, ids: dict[str, int], scheme: str, locale: str, width: int, paths: tuple[str, ...]
) -> None:
    page = open_as("Ada", color_scheme=scheme, locale=locale, viewport={"width": width, "height": 800})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    for path in paths:
        page.goto(path.format(**ids))
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
            problems.append(f"{path} is {wide} px wide")
        page.evaluate(OPENED)
        if found := axe(page):  # which takes longer than the behaviours to arrive
            problems.append(f"{path}: {found}")
    assert [problem for problem in problems if "/no-such-page" not in problem] == []


def test_every_page_fits_on_a_phone_in_the_language_of_the_longer_words(open_as: Open, ids: dict[str, int]) -> None:
    page = open_as("Ada", viewport={"width": 360, "height": 740})
    wide = {}
    for path in PAGES:
        page.goto(path.format(**ids))
        wide[path] = page.evaluate("document.documentElement.scrollWidth")
    assert {path: width for path, width in wide.items() if width > 360} == {}


COVERED = """() => {
  const one = document.activeElement;
  const bar = document.querySelector(".verdict-bar");
  if (!one || one === document.body || bar.contains(one)) return "";
  const [control, over] = [one, bar].map((each) => each.getBoundingClientRect());
  const covered = Math.min(control.bottom, over.bottom) - Math.max(control.top, over.top);
  return control.height < 100 && covered > 1 ? one.outerHTML.slice(0, 200) : "";
}"""


@pytest.mark.parametrize("path", ["/projects/demo/disputes/{dispute}", "/projects/demo/annotate?task={ranked}"])
def test_nothing_takes_the_focus_under_the_bar_on_a_phone(open_as: Open, ids: dict[str, int], path: str) -> None:
    page = open_as("Ada", viewport={"width": 360, "height": 640})
    page.goto(path.format(**ids))
    page.wait_for_load_state("networkidle")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    covered, pressed = [], 0
    page.locator("#question").focus()
    while pressed < 60 and page.evaluate("document.activeElement !== document.body"):
        page.keyboard.press("Tab")
        pressed += 1
        covered.append(page.evaluate(COVERED))
    assert pressed > 15
    assert [one for one in covered if one] == []


# Pages whose controls differ most from each other; the night tabs through all of them.
TABBED = ("/account", "/projects/demo/annotate", "/projects/demo/labels", "/projects/demo/people", "/rounds/{round}")

FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  element.dataset.tabbed = "yes";
  const ring = (one) => {
    const style = one && getComputedStyle(one);
    return style && (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== "none");
  };
  const shown = ring(element) || ring(element.nextElementSibling) || ring(element.closest("label"));
  return shown ? "ring" : element.outerHTML.slice(0, 200);
}"""
UNREACHED = """() => {
  const controls = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const group = (one) => one.type === "radio" && document.querySelector(`[name="${one.name}"][data-tabbed]`);
  return [...document.querySelectorAll(controls)]
    .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled && one.tabIndex >= 0)
    .filter((one) => !one.dataset.tabbed && !group(one))
    .map((one) => one.outerHTML.slice(0, 200));
}"""


def tab_through(page: Page, most: int = 400) -> list[str]:
    """Press Tab from the top to the bottom: the controls that took the focus without showing it, and those it never came to."""
    unseen = []
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        if focused != "ring":
            unseen.append(f"no ring: {focused}")
    return unseen + [f"not reached: {control}" for control in page.evaluate(UNREACHED)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("paths", [pytest.param(TABBED, id="some"), pytest.param(PAGES, id="all", marks=pytest.mark.nightly)])
def test_everything_is_reached_by_keyboard_and_shows_where_it_is(
    open_as: Open, ids: dict[str, int], paths: tuple[str, ...]
) -> None:
    page = open_as("Ada", viewport={"width": 1280, "height": 800})
    problems = []
    for path in paths:
        page.goto(path.format(**ids))
        page.wait_for_load_state("networkidle")
        problems += [f"{path}: {problem}" for problem in tab_through(page)]
    assert problems == []


# What reaches past the right edge, inside of a frame that scrolls, too.
OFF_THE_SCREEN = (
    "[...document.querySelectorAll('main :is(th, td, button, select, a)')].filter((one) => one.checkVisibility() &&"
    " one.getBoundingClientRect().right > innerWidth).map((one) => one.textContent.trim())"
)


@pytest.mark.parametrize(
    "path",
    [
        "/projects/demo/people",
        "/projects/demo/prompts",
        "/projects/demo/labels",
        "/projects/demo/audit",
        "/account",
        "/account/keys",
    ],
)
def test_no_column_is_off_the_screen_of_a_phone(open_as: Open, ids: dict[str, int], path: str) -> None:
    page = open_as("Ada", viewport={"width": 360, "height": 740})
    page.goto(path)
    assert page.evaluate(OFF_THE_SCREEN) == []


def test_a_chart_is_drawn_and_its_picture_has_words(open_as: Open, ids: dict[str, int]) -> None:
    page = open_as("Ada")
    page.goto(f"/runs/{ids['ppo']}")
    picture = page.get_by_role("img", name=re.compile("^Score of the reward model"))
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("(image) => image.naturalWidth") > 0


def test_a_running_page_keeps_itself_current_without_closing_what_is_open(
    open_as: Open, ids: dict[str, int], engine: Engine, settings: Settings
) -> None:
    page = open_as("Ada")
    page.goto(f"/runs/{ids['live']}")
    expect(page.get_by_text("Step 3 of 24")).to_be_visible()
    page.locator("details#settings > summary").click()
    write_run(settings.runs / str(ids["live"]), [], steps=9)
    with write_session(engine) as session:
        session.get_one(Run, ids["live"]).step = 9
    expect(page.get_by_text("Step 9 of 24")).to_be_visible(timeout=15_000)
    expect(page.locator("details#settings")).to_have_attribute("open", "")
    expect(page.get_by_role("img", name=re.compile("at step 8"))).not_to_have_count(0)


def test_a_page_that_cannot_refresh_says_so_and_goes_on(open_as: Open, ids: dict[str, int]) -> None:
    page = open_as("Ada")
    page.goto(f"/runs/{ids['live']}")
    page.wait_for_load_state("networkidle")  # so that its behaviours have arrived
    page.context.set_offline(True)
    expect(page.get_by_text("no answer from the server. Trying again.")).to_be_visible(timeout=15_000)
    page.context.set_offline(False)
    expect(page.get_by_text("This page keeps itself current.")).to_be_visible(timeout=15_000)


def test_a_behaviour_of_a_page_that_did_not_arrive_comes_later(open_as: Open, ids: dict[str, int]) -> None:
    page = open_as("Ada")
    page.route("**/js/refresh.js*", lambda route: route.abort())
    page.goto(f"/runs/{ids['live']}")
    page.wait_for_timeout(1_000)
    page.unroute("**/js/refresh.js*")
    page.wait_for_timeout(1_500)
    page.context.set_offline(True)
    expect(page.get_by_text("no answer from the server. Trying again.")).to_be_visible(timeout=15_000)


def test_an_admin_decides_with_the_keyboard_alone(
    open_as: Open, ids: dict[str, int], engine: Engine, cast: Cast, settings: Settings
) -> None:
    with write_session(engine) as session:
        session.get_one(Run, ids["live"]).state = "cancelled"
        round_id = tell(session, session.get_one(Project, cast.demo), settings.runs, number=3).round
    page = open_as("Grace")
    page.goto(f"/rounds/{round_id}")
    page.get_by_text("Reject", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("Longer, not better.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("The candidate is rejected. The policy stays as it was.")
    expect(page.get_by_text("Grace rejected")).to_contain_text("Longer, not better.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_object_to_before_anybody_signs_in(open_as: Open, scheme: str) -> None:
    page = open_as(None, color_scheme=scheme, viewport={"width": 360, "height": 740})
    page.goto("/sign-in")
    assert axe(page) == ""
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_navigation_shows_where_one_is_even_on_a_phone(open_as: Open, cast: Cast) -> None:
    page = open_as("Ada", viewport={"width": 360, "height": 740})
    page.goto("/projects/demo/settings")
    expect(page.get_by_role("navigation", name="Demo").get_by_role("link", name="Settings")).to_be_in_viewport(ratio=0.9)


def test_a_closed_tool_says_what_it_holds_where_that_is_part_of_the_verdict_alone(open_as: Open, ids: dict[str, int]) -> None:
    """Whom to send a question back to is chosen beforehand: that says nothing of the verdict."""
    page = open_as("Ada")
    page.goto("/projects/demo/disputes/{dispute}".format(**ids))
    after = "(one) => getComputedStyle(one, '::after').content"
    assert page.locator("summary", has_text="Send one back").evaluate(after) == "none"
    flag = page.locator("summary", has_text="Flag").first
    flag.click()
    page.locator("details[open] input[type=checkbox]").first.check()
    flag.click()
    assert "ticked" in flag.evaluate(after)


def test_a_button_beside_labelled_fields_stands_at_their_foot(open_as: Open, ids: dict[str, int]) -> None:
    page = open_as("Ada", viewport={"width": 1280, "height": 800})
    for path in ("/projects/demo/leaderboard/side-by-side", "/audit"):
        page.goto(path)
        form = page.locator("form.row", has=page.get_by_role("button", name="Show", exact=True))
        feet = [form.locator(one).first.evaluate("(one) => one.getBoundingClientRect().bottom") for one in ("select", "button")]
        assert abs(feet[0] - feet[1]) < 1.5, path
