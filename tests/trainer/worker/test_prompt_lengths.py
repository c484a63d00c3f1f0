"""Counting beside the runs: a real process, real tables."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Project, Prompt
from app.projects.service import update_project
from app.prompts.lengths import REFUSED
from tests.app import factories
from tests.byte_tokens import byte_tokens
from trainer.lm.backbone import chat_ids
from trainer.lm.loading import load_tokenizer
from trainer.worker import prompt_lengths
from trainer.worker.prompt_lengths import AGAIN_S, Count

__all__ = ["byte_tokens"]


@pytest.fixture
def count() -> Iterator[Count]:
    made = Count()
    yield made
    made.end()


def tokens(engine: Engine) -> list[int | None]:
    with read_session(engine) as session:
        return list(session.scalars(select(Prompt.tokens).order_by(Prompt.id)))


def go_on_until(engine: Engine, count: Count, project_ids: list[int], wanted: list[int | None]) -> None:
    end = time.monotonic() + 60
    while tokens(engine) != wanted and time.monotonic() < end:
        count.go_on(engine, project_ids)
        time.sleep(0.1)
    assert tokens(engine) == wanted


def test_what_came_is_counted_and_what_comes_later_too(engine: Engine, byte_tokens: Path, count: Count) -> None:
    tokenizer = load_tokenizer(str(byte_tokens))
    with write_session(engine) as session:
        project = factories.make_project(session, base_model=str(byte_tokens))
        made = [factories.make_prompt(session, project.id, text) for text in ("Why?", "Where is it?")]
        wanted: list[int | None] = [len(chat_ids(tokenizer, prompt.messages)) for prompt in made]
        project_id = project.id
    go_on_until(engine, count, [project_id], wanted)
    with write_session(engine) as session:
        wanted.append(len(chat_ids(tokenizer, factories.make_prompt(session, project_id, "When?").messages)))
    go_on_until(engine, count, [project_id], wanted)


def test_while_answers_are_to_be_written_nothing_is_counted(engine: Engine, byte_tokens: Path, count: Count) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session, base_model=str(byte_tokens))
        factories.make_prompt(session, project.id, "Why?")
        factories.make_run(session, project.id, state="queued")
        project_id = project.id
    count.go_on(engine, [project_id])
    assert count._process is None


@pytest.mark.nightly
def test_a_model_that_is_not_here_is_asked_again_after_a_while_and_others_meanwhile(
    engine: Engine, byte_tokens: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_session(engine) as session:
        nowhere = factories.make_project(session, base_model="/nowhere/at/all")
        factories.make_prompt(session, nowhere.id, "Why?")
        here = factories.make_project(session, base_model=str(byte_tokens))
        wanted = len(chat_ids(load_tokenizer(str(byte_tokens)), factories.make_prompt(session, here.id, "Why?").messages))
        ids = [nowhere.id, here.id]
    go_on_until(engine, count, ids, [None, wanted])
    count.go_on(engine, ids)
    assert count._process is None  # the first is not asked every few seconds
    later = time.monotonic() + AGAIN_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    count.go_on(engine, ids)
    assert count._process is not None


@pytest.mark.nightly
def test_a_template_that_never_ends_is_asked_once_until_the_project_has_another_model(
    engine: Engine, byte_tokens: Path, count: Count, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = tmp_path / "endless"
    shutil.copytree(byte_tokens, endless)
    turns = "{% for one in range(99999) %}{% for other in range(99999) %}{% endfor %}{% endfor %}"
    (endless / "chat_template.jinja").write_text(turns)
    with write_session(engine) as session:
        project = factories.make_project(session, base_model=str(endless))
        wanted = len(chat_ids(load_tokenizer(str(byte_tokens)), factories.make_prompt(session, project.id, "Why?").messages))
        project_id = project.id
    count.go_on(engine, [project_id])
    end = time.monotonic() + 200  # it gives way to all else
    while count._process is not None and time.monotonic() < end:
        count.go_on(engine, [])
        time.sleep(0.1)
    later = time.monotonic() + AGAIN_S
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: later)
        count.go_on(engine, [project_id])
        assert count._process is None
        with write_session(engine) as session:
            update_project(session, session.get_one(Project, project_id), {"base_model": str(byte_tokens)}, by=None)
        count.go_on(engine, [project_id])
        assert count._process is not None
    go_on_until(engine, count, [project_id], [wanted])


def test_what_was_counted_by_a_model_that_changed_meanwhile_is_counted_again(
    engine: Engine, byte_tokens: Path, count: Count, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(byte_tokens, other)
    (other / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with write_session(engine) as session:
        project = factories.make_project(session, base_model=str(byte_tokens))
        factories.make_prompt(session, project.id, "Why?")
        project_id = project.id
    count.go_on(engine, [project_id])
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, project_id), {"base_model": str(other)}, by=None)
    end = time.monotonic() + 60
    while count._process is not None and time.monotonic() < end:
        count.go_on(engine, [])
        time.sleep(0.1)
    assert tokens(engine) == [None]
    go_on_until(engine, count, [project_id], [4])


def test_a_prompt_that_takes_too_long_is_found_by_halves_and_refused(
    engine: Engine, byte_tokens: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is waited for here, so that every count takes too long."""
    monkeypatch.setattr(prompt_lengths, "MOST_S", 0.0)
    monkeypatch.setattr(prompt_lengths, "AGAIN_S", 0.0)
    with write_session(engine) as session:
        project = factories.make_project(session, base_model=str(byte_tokens))
        for number in range(5):
            factories.make_prompt(session, project.id, f"Number {number}?")
        project_id = project.id
    given = []
    for _ in range(3):
        count.go_on(engine, [project_id])
        given.append(len(count._given))
        assert tokens(engine) == [None] * 5
        count.go_on(engine, [project_id])
    assert given == [5, 2, 1]
    assert tokens(engine) == [REFUSED, None, None, None, None]
    monkeypatch.undo()
    tokenizer = load_tokenizer(str(byte_tokens))
    others = [len(chat_ids(tokenizer, asked(number))) for number in range(1, 5)]
    go_on_until(engine, count, [project_id], [REFUSED, *others])


def asked(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Number {number}?"}]
