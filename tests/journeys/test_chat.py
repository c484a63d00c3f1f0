"""A talk by keyboard alone, with a real model: reloads and cuts in the middle lose nothing and double nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine, select, update

from app.database.engine import read_session, write_session
from app.models import Chat, ChatTurn, Checkpoint, Generation, Project, Prompt, Task
from app.texts.safe_html import shown
from tests.app.chats.conftest import alive, talking, warm
from tests.app.chats.talk import Talk
from tests.app.conftest import Cast
from tests.journeys.desk import press, stored, watch
from tests.trainer.conftest import llama_folder
from trainer.worker.warm import Warm

__all__ = ["alive", "llama_folder", "talking", "warm"]

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]

Open = Callable[..., Page]
PATIENCE_MS = 60_000


@pytest.fixture
def model(engine: Engine, cast: Cast, talking: None, llama_folder: Path, warm: Warm) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.base_model, project.sampling = str(llama_folder), {"temperature": 1.5, "max_new_tokens": 32}
        session.execute(update(Checkpoint).where(Checkpoint.id == project.policy_id).values(source=str(llama_folder)))


def say(page: Page, text: str) -> None:
    expect(page.locator("#text")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.type(text)
    press(page, "Enter")


def answers(page: Page) -> tuple[str, str]:
    """Both, once they are there."""
    expect(page.get_by_role("heading", name="Which answer goes on?")).to_be_focused(timeout=PATIENCE_MS)
    left, right = (page.locator(f"#talk > .panes [data-side={side}]").inner_text() for side in ("left", "right"))
    return left, right


def chosen(page: Page, turns: int) -> None:
    expect(page.locator(".talk__reply")).to_have_count(turns, timeout=PATIENCE_MS)


def test_five_turns_by_keyboard_with_a_reload_and_a_cut_in_the_middle(
    open_as: Open, engine: Engine, cast: Cast, model: None
) -> None:
    page = open_as("Mary")
    complaints = watch(page)
    page.goto("/projects/demo/chats")
    page.wait_for_load_state("networkidle")
    press(page, "n")

    say(page, "Where is the moon?")
    seen = [answers(page)]
    press(page, "1")
    chosen(page, 1)

    # Loaded again while both are being written.
    say(page, "And the sun?")
    expect(page.locator("[data-growing-now]")).to_be_visible()
    page.reload()
    seen.append(answers(page))
    press(page, "9")
    expect(page.locator("#words")).to_be_focused()
    page.keyboard.type("The sun is a star.")
    press(page, "Enter")
    chosen(page, 2)
    expect(page.locator(".talk__reply").nth(1)).to_contain_text("The sun is a star.")

    # The network goes before it is said, and again before it is chosen.
    offline = page.context.set_offline
    expect(page.locator("#text")).to_be_focused(timeout=PATIENCE_MS)
    offline(True)
    say(page, "What is rain?")
    expect(page.locator("[data-notice]")).to_contain_text("trying again")
    offline(False)
    seen.append(answers(page))
    offline(True)
    press(page, "2")
    expect(page.locator("[data-notice]")).to_contain_text("trying again")
    page.wait_for_timeout(1500)
    assert len(stored(engine)) == 2
    offline(False)
    chosen(page, 3)

    # And while both are being written.
    say(page, "What is bread?")
    expect(page.locator("[data-growing-now]")).to_be_visible()
    offline(True)
    page.wait_for_timeout(300)
    offline(False)
    seen.append(answers(page))
    press(page, "0")
    page.reload()
    chosen(page, 4)

    say(page, "Goodbye.")
    seen.append(answers(page))
    press(page, "1")
    chosen(page, 5)

    labels = stored(engine)
    assert [label.choice for label in labels] == ["left", "both_bad", "right", "tie", "left"]
    assert {(label.version, label.annotator_id, label.served_reason) for label in labels} == {(1, cast.mary, "chat")}
    assert [label.rewrite for label in labels][1] == {"side": "left", "text": "The sun is a star."}
    assert all((label.active_ms or 0) > 0 for label in labels if label.choice in ("left", "right"))
    with read_session(engine) as session:
        turns = session.scalars(select(ChatTurn).order_by(ChatTurn.number)).all()
        assert len(session.scalars(select(Chat)).all()) == 1
        assert [turn.task_id for turn in turns] == [label.task_id for label in labels]
        shown = [(label.left_generation_id, label.right_generation_id) for label in labels]
        texts = [tuple(session.get_one(Generation, one).text for one in pair if one) for pair in shown]
        assert [tuple(map(as_seen, pair)) for pair in texts] == [tuple(map(plain, pair)) for pair in seen]
        replies = [texts[0][0], "The sun is a star.", texts[2][1], texts[3][0], texts[4][0]]
        assert [turn.reply for turn in turns] == replies
        assert len(session.scalars(select(Generation)).all()) == 10, "nothing was kept twice"
        last = session.get_one(Prompt, session.get_one(Task, labels[-1].task_id).prompt_id)
        said = ["Where is the moon?", "And the sun?", "What is rain?", "What is bread?"]
        conversation = [text for pair in zip(said, replies, strict=False) if pair[1].strip() for text in pair]
        assert [message["content"].strip() for message in last.messages] == [*map(str.strip, conversation), "Goodbye."]
    assert [one for one in complaints if "ERR_INTERNET_DISCONNECTED" not in one and "Failed to load" not in one] == []


def test_flags_strength_and_comment_by_keyboard(open_as: Open, engine: Engine, cast: Cast, talking: None) -> None:
    talk = Talk(engine, cast)
    talk.keep(talk.say("Is it far?"), "Very.", "Not at all.")
    page = open_as("Mary")
    complaints = watch(page)
    page.goto(f"/chats/{talk.id}")
    page.wait_for_load_state("networkidle")
    press(page, "Shift+F")
    expect(page.locator("[name='flags.right']").first).to_be_focused()
    press(page, " ")
    press(page, "7")
    page.get_by_text("Add a comment").click()
    page.keyboard.type("One line")
    press(page, "Enter")
    page.keyboard.type("and another.")
    assert stored(engine) == [], "Enter begins a line in a comment"
    press(page, "Escape")
    press(page, "1")
    chosen(page, 1)
    (label,) = stored(engine)
    key = label.flags["right"][0]
    assert (label.choice, label.strength, label.flags) == ("left", 2, {"right": [key]})
    assert label.comment == "One line\nand another."
    assert complaints == []


def as_seen(text: str) -> str:
    """An answer as the page shows it: what nobody sees has a mark there."""
    return plain(shown(text, "written").striptags()) or plain("This answer is empty.")


def plain(text: str) -> str:
    return "".join(text.split())
