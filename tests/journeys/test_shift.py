"""One person's shift by keyboard alone; then the export, against a list of what was pressed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Project, Seat
from tests.app import factories
from tests.app.conftest import Cast
from tests.journeys.desk import Open, all_saved, fetched_ahead, go, judge, press, task_on, watch

pytestmark = pytest.mark.journey

CHOICES = {"1": "left", "2": "right", "0": "tie", "9": "both_bad"}
Expected = dict[str, Any]  # part of a row of the export


class Shift:
    """Judges task after task and writes down, for each version it gives, what the export must say."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.expected: list[Expected] = []
        self.versions: dict[int, int] = {}
        self.given = 0

    def work(self) -> None:
        kind = self.page.locator("form.task").get_attribute("data-kind")
        self._compare() if kind == "comparison" else self._rate()
        self.given += 1
        if self.given % 10 == 4:
            self._correct()

    def _compare(self) -> None:
        key = "1209"[self.given % 4]
        press(self.page, key)
        said: Expected = {"kind": "comparison", "choice": CHOICES[key], "overall": 0, **self._shown()}
        if self.given % 8 == 1:
            self._tab_to("strength")
            press(self.page, "ArrowRight")
            said["strength"] = 2
        said |= self._flag_or_rewrite("left", "f", "e") if self.given % 2 else self._flag_or_rewrite("right", "F", "E")
        self._save(said)

    def _rate(self) -> None:
        score = 1 + self.given % 5
        press(self.page, str(score), "4", "2")
        said: Expected = {"kind": "rating", "choice": "", "overall": score, **self._shown()}
        said["criteria"] = {"accuracy": {"choice": "", "score": 2}, "fluency": {"choice": "", "score": 4}}
        said |= self._flag_or_rewrite("response", "f", "e")
        self._save(said)

    def _flag_or_rewrite(self, side: str, flag_key: str, rewrite_key: str) -> Expected:
        said: Expected = {}
        if self.given % 5 == 2:
            press(self.page, flag_key, "Space")
            said["flags"] = {"left": "", "right": "", "left" if side == "response" else side: "unsafe"}
        if self.given % 6 == 3:
            press(self.page, rewrite_key)
            box = self.page.locator(f"[name='rewrite.{side}']")
            expect(box).to_be_focused()
            press(self.page, "Control+End")
            self.page.keyboard.type(" Or 2, s")
            expect(self.page.locator(".diff ins")).to_contain_text("Or")
            said["rewrite"] = {"side": side, "text": box.input_value()}
            press(self.page, "Escape")
        return said

    def _correct(self) -> None:
        """Undo, another verdict, and on with the task that was in hand."""
        in_hand, last = task_on(self.page), dict(self.expected[-1])
        press(self.page, "u")
        expect(self.page.locator(f"#desk > [data-task='{last['task_id']}']")).to_be_visible()
        if last["kind"] == "comparison":
            press(self.page, "9")
            last |= {"choice": "both_bad", "strength": 0}
        else:
            press(self.page, "5")
            last["overall"] = 5
        self._save(last)
        assert task_on(self.page) == in_hand

    def _save(self, said: Expected) -> None:
        task = judge(self.page)
        version = self.versions[task] = self.versions.get(task, 0) + 1
        unscored = {key: {"choice": "", "score": 0} for key in ("accuracy", "fluency")}
        blank: Expected = {
            "strength": 0,
            "criteria": unscored,
            "flags": {"left": "", "right": ""},
            "rewrite": {"side": "", "text": ""},
        }
        self.expected.append({**blank, **said, "task_id": task, "version": version})

    def _shown(self) -> Expected:
        texts = [text.strip() for text in self.page.locator("#desk .pane__text").all_inner_texts()]
        return {"left": texts[0], "right": texts[1] if len(texts) > 1 else ""}

    def _tab_to(self, name: str) -> None:
        for _ in range(30):
            press(self.page, "Tab")
            if self.page.evaluate("document.activeElement.name") == name:
                return
        raise AssertionError(f"no way to {name} by keyboard")


@pytest.mark.parametrize(
    ("comparisons", "ratings"), [(8, 4), pytest.param(100, 50, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])]
)
def test_the_export_holds_exactly_what_was_pressed(
    open_as: Open, engine: Engine, cast: Cast, api: Callable[..., TestClient], comparisons: int, ratings: int
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number in range(comparisons + ratings):
            factories.make_task(session, project, "rating" if number % 3 == 2 else "comparison")
    page = open_as("Mary")
    said = watch(page)
    go(page)
    fetched_ahead(page)

    shift = Shift(page)
    for _ in range(comparisons + ratings):
        shift.work()
    all_saved(page)

    exported = api("admin", who="Grace").get("/api/v1/projects/demo/export?format=labels&as=jsonl").text
    rows = [json.loads(line) for line in exported.splitlines()]
    for row, want in zip(rows, shift.expected, strict=True):
        row |= {side: row[side] and row[side]["text"] for side in ("left", "right")}
        assert {name: row[name] for name in want} == want
    assert len({row["task_id"] for row in rows}) == comparisons + ratings
    assert all(0 < row["active_ms"] <= row["wall_ms"] for row in rows if row["version"] == 1)
    assert {row["interface_version"] for row in rows} == {"page 3"}
    with read_session(engine) as session:
        assert {seat.state for seat in session.scalars(select(Seat))} == {"done"}
    expect(page.locator("#last-verdicts li")).to_have_count(10)
    assert said == []
