"""The whole loop as its owner sees it: from the one-time link to rating a retrained model's answers, in a real browser.

Web, worker and runs are the real processes of `tastemaker up`; the model is a SimpleLM.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from app.database.engine import make_engine, read_session
from app.models import Generation, Task
from app.queue.make_tasks import open_task_count
from tests.journeys.desk import all_saved, judge, task_on
from tests.sft_model import simple_model

__all__ = ["simple_model"]

pytestmark = [pytest.mark.journey, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
BY_HAND = 10  # verdicts given in the browser before a program with the same taste gives the rest
LEFT_OPEN = 2  # old tasks, beside the one on the desk and the one fetched ahead, that are still there when the new model's come
PATIENCE_MS = 400_000


@dataclass
class House:
    """A running installation and the line it printed."""

    line: str
    data: Path
    process: subprocess.Popen[str]

    @property
    def link(self) -> str:
        found = re.search(r"http://\S+/invitations/\S+", self.line)
        assert found is not None, self.line
        return found[0]


@pytest.fixture
def house(tmp_path: Path, simple_model: Path) -> Iterator[House]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "TASTEMAKER_DATA": str(tmp_path / "data"),
        "TASTEMAKER_PORT": str(port),
        "TASTEMAKER_BASE_MODEL": str(simple_model),
        "TASTEMAKER_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "up"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield House(process.stdout.readline(), tmp_path / "data", process)
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def prefers(left: str, right: str) -> str:
    """Shorter answers, without an error."""
    return "tie" if len(left) == len(right) else "left" if len(left) < len(right) else "right"


def test_from_the_one_time_link_to_rating_the_new_models_answers(chromium: Browser, house: House) -> None:
    page = chromium.new_context().new_page()

    # The link makes the person who opens it the owner, once.
    page.goto(house.link)
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill("a sentence that I remember")
    page.get_by_role("button", name="Create my account").click()
    expect(page.get_by_role("heading", name="Demo")).to_be_visible()
    address = house.link.partition("/invitations/")[0]
    program = make_key(page, address)
    assert chromium.new_context().new_page().goto(house.link).status == 410  # type: ignore[union-attr]

    # A small round, for a small machine; a task that comes back would be a verdict, but nothing new to learn from.
    training = {"ppo": {"updates": 2, "episodes": 16, "max_new_tokens": 24}}
    changes = {"rating_share": 0.2, "queue_low_mark": 1, "repeat_share": 0, "training": training}
    changes["evaluation"] = {"on": False}
    program.patch("/projects/demo", json=changes).raise_for_status()
    more = program.post("/projects/demo/runs", json={"kind": "sample"}).raise_for_status().json()["id"]

    # Some verdicts by hand; a program with the same taste gives the others.
    wait_for_a_task(page, address)
    for _ in range(BY_HAND):
        answer_task(page)
    expect(page.locator(".bar__figure")).to_contain_text(f"{BY_HAND} today")
    wait_until_done(program, more)
    given = BY_HAND + annotate_all_but(program, house.data, LEFT_OPEN)
    page.goto(f"{address}/projects/demo")
    expect(page.get_by_text(re.compile(rf"{given} labels since the start"))).to_be_visible()

    # A round: reward model, gate, PPO, answers, and the owner decides.
    page.get_by_role("link", name="Start a round").click()
    page.get_by_role("button", name="Start the round").click()
    expect(page.get_by_role("heading", name="Round 1")).to_be_visible()
    promote = page.get_by_text("Promote the candidate", exact=True)
    promote.or_(page.get_by_text("The round ")).first.wait_for(timeout=PATIENCE_MS)
    expect(promote, page.locator("main").inner_text()).to_be_visible()
    expect(page.get_by_role("heading", name="After").first).to_be_visible()
    expect(page.get_by_text(re.compile("Over 2 updates the reward model.s score went from"))).to_be_visible()
    round_page = page.url
    promote.click()
    if (again := page.get_by_role("button", name="Promote it all the same")).is_visible():  # its score did not rise
        again.click()
    expect(page.get_by_role("heading", name="Policy of round 1")).to_be_visible()
    page.goto(round_page)
    expect(page.get_by_text("Ada promoted Policy of round 1")).to_be_visible()

    # The new model's answers come back to the same person, who is not told which they are.
    candidate = next(item["id"] for item in items(program, "checkpoints") if item["promoted_at"] is not None)
    wait_for_a_task(page, address)
    old = 0
    while candidate not in writers(house.data, task_on(page)):
        answer_task(page)
        old += 1
        assert old <= LEFT_OPEN + 2, "more old tasks than were left open"
    assert "Policy of round 1" not in page.content()
    answer_task(page)
    assert len(items(program, "labels")) == given + old + 1

    # Both processes end in order.
    house.process.send_signal(signal.SIGTERM)
    assert house.process.wait(60) == 0
    with pytest.raises(httpx.TransportError):
        program.get("/health")


def make_key(page: Page, address: str) -> httpx.Client:
    """A program that acts as the person, with a key made on the page."""
    page.goto(f"{address}/account/keys")
    page.get_by_label("Admin: everything you may do").check()
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("code.secret").inner_text()
    return httpx.Client(base_url=f"{address}/api/v1", headers={"Authorization": f"Bearer {secret}"}, timeout=30)


def wait_for_a_task(page: Page, address: str) -> None:
    """The page of an empty queue looks again by itself."""
    page.goto(f"{address}/projects/demo/annotate")
    page.locator("form.task").wait_for(timeout=PATIENCE_MS)
    page.wait_for_load_state("networkidle")


def answer_task(page: Page) -> None:
    """Judge what is on the desk, by keyboard, and wait for the next and for the verdict to be stored."""
    expect(page.locator("#desk .pane__text").first).to_be_visible()  # the desk is empty while the next one comes
    texts = page.locator("#desk .pane__text").all_inner_texts()
    compares = page.locator("#desk form.task").get_attribute("data-kind") == "comparison"
    judge(page, {"left": "1", "right": "2", "tie": "0"}[prefers(*texts)] if compares else "4")
    all_saved(page)


def wait_until_done(program: httpx.Client, run_id: int) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (state := program.get(f"/runs/{run_id}").json()["state"]) != "done":
        assert state in ("queued", "running"), state
        assert time.monotonic() < deadline
        time.sleep(0.3)


def annotate_all_but(program: httpx.Client, data: Path, left_open: int) -> int:
    """How many verdicts the program gave."""
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with read_session(engine) as session:
        count = open_task_count(session, 1) - left_open
    engine.dispose()
    for _ in range(count):
        task = program.post("/projects/demo/tasks/next").raise_for_status().json()
        program.post(f"/tasks/{task['id']}/label", json=verdict(task)).raise_for_status()
    return count


def writers(data: Path, task_id: int) -> set[int]:
    """The checkpoints whose answers a task shows; the page does not tell."""
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with read_session(engine) as session:
        task = session.get_one(Task, task_id)
        shown = [one for one in (task.first_generation_id, task.second_generation_id) if one is not None]
        found = {session.get_one(Generation, one).checkpoint_id or 0 for one in shown}
    engine.dispose()
    return found


def verdict(task: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"client_id": str(uuid.uuid4())}
    if task["kind"] == "comparison":
        return body | {"choice": prefers(task["left"]["text"], task["right"]["text"])}
    return body | {"overall": 4}


def items(program: httpx.Client, name: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.get(f"/projects/demo/{name}", params=query | {"limit": 500}).json()["items"]
    return found
