"""The playground with a real warm process: answers grow beside each other, two become a task, and who leaves ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Project, Task
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.serving.conftest import alive, live, warm
from tests.app.serving.test_outside_chat import streaming
from tests.app.serving.test_playground import outside
from tests.journeys.test_looks import axe
from tests.trainer.conftest import llama_done, llama_folder
from trainer.worker.warm import Warm

__all__ = ["alive", "live", "llama_done", "llama_folder", "warm"]

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]

Open = Callable[..., Page]
PATIENCE_MS = 90_000


@pytest.fixture
def two_policies(engine: Engine, cast: Cast, live: dict[str, int], llama_folder: Path) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        factories.make_checkpoint(session, project.id, parent_id=live["policy"], source=str(llama_folder))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), pytest.param("dark", 360, marks=pytest.mark.nightly)])
def test_two_answers_grow_are_scored_and_become_a_task(
    open_as: Open, engine: Engine, two_policies: None, warm: Warm, scheme: str, width: int
) -> None:
    page = open_as("Grace", color_scheme=scheme, viewport={"width": width, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto("/projects/demo/playground")
    page.wait_for_load_state("networkidle")
    page.get_by_label("Prompt").fill("Where is the moon?")
    page.get_by_label("Longest answer").fill("24")
    page.get_by_role("button", name="Play").click()
    ticks = page.get_by_label("ask people about this one")
    expect(ticks).to_have_count(2, timeout=PATIENCE_MS)
    for place in (0, 1):
        expect(page.locator("[data-score]").nth(place)).to_be_visible(timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == ""

    page.get_by_role("button", name="Save as task").click()
    expect(page.get_by_text("Tick one answer to have it rated")).to_be_visible()
    expect(ticks).to_have_count(2)
    for place in (0, 1):
        ticks.nth(place).check()
    assert all("422" in one for one in problems), "the browser says so of each refusal"
    problems.clear()
    page.get_by_role("button", name="Save as task").click()
    expect(page.get_by_text("People will be asked about it.")).to_be_visible()
    with read_session(engine) as session:
        assert session.scalars(select(Task.kind)).all() == ["comparison"]
    assert problems == []


def test_a_model_outside_writes_for_nobody_once_the_page_is_left(
    open_as: Open, engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    written = count()

    def endless() -> Iterator[str]:
        for _ in written:
            yield "on and "
            time.sleep(0.05)

    with streaming(endless(), []) as there:
        outside(engine, cast.demo, there)
        page = open_as("Grace")
        page.goto("/projects/demo/playground")
        page.wait_for_load_state("networkidle")
        page.get_by_label("Prompt").fill("Go on.")
        page.get_by_label("Base model").uncheck()
        page.get_by_label("GPT").check()
        page.get_by_role("button", name="Play").click()
        expect(page.locator("[data-panes] [data-text]")).to_contain_text("on and on and")
        page.goto("/projects/demo")
        deadline, was = time.monotonic() + 20, -1
        while (now := next(written)) > was + 1:
            assert time.monotonic() < deadline, "it is still being read"
            was = now
            time.sleep(0.5)
