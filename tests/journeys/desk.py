"""How a person annotates in these tests: the desk, its keys, and what the database holds afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect
from sqlalchemy import Engine, select

from app.database.engine import read_session
from app.models import Label

Open = Callable[..., Page]
PAGE = "/projects/demo/annotate"


def stored(engine: Engine) -> list[Label]:
    """Every version of every verdict, in the order they were stored."""
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
    """To the next task, once its scripts are there and the task after it."""
    page.goto(PAGE)
    page.wait_for_load_state("networkidle")


def task_on(page: Page) -> int:
    return int(page.locator("#desk > [data-task]").get_attribute("data-task") or 0)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def judge(page: Page, *keys: str) -> int:
    """Presses the keys and Enter, and waits for the next task or for the news that there is none; the task that was judged."""
    task = task_on(page)
    press(page, *keys, "Enter")
    expect(page.locator(f"#desk > :is([data-task='{task}'], [data-part=pause])")).to_have_count(0)
    return task


def until(page: Page, expression: str, timeout_s: float = 20.0) -> Any:
    """The expression's value once it is true. Playwright's own wait evaluates text in the page, which our policy forbids."""
    deadline = time.monotonic() + timeout_s
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < deadline, f"never came true: {expression}"
        page.wait_for_timeout(20)
    return value


def all_saved(page: Page) -> None:
    """Waits until every verdict is acknowledged."""
    until(page, "Object.keys(localStorage).every((key) => !key.startsWith('tastemaker.outbox.'))")
    expect(page.locator(".outbox")).to_have_attribute("data-state", "saved")


def fetched_ahead(page: Page) -> int:
    """Waits for the task that stands behind the desk's, and says which it is."""
    return int(until(page, "document.getElementById('ahead').content.firstElementChild?.dataset.task ?? 0"))


def tab_to(page: Page, control: Locator, most: int = 80) -> None:
    """Presses Tab until the control has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if control.evaluate("(one) => one === document.activeElement"):
            return
    raise AssertionError(f"Tab never comes to {control}")
