"""What settings leave out, counted before they do; the counting by a real process on a real tokenizer."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.database.slices import FIRST
from app.models import Generation, Project, Prompt
from app.projects.service import update_project
from app.prompts import cli, lengths
from app.prompts.lengths import (
    COUNTED_AT_ONCE,
    REFUSED,
    all_too_long,
    lengths_of,
    prompts_to_watch,
    read_in_part,
    room_of,
    store_counts,
    uncounted,
    void_other_counts,
)
from app.prompts.service import PromptRow, add_prompts, edit_prompt
from tests.app.conftest import Cast
from tests.app.prompts.test_service import rows
from tests.app.rounds.test_routes import add_labels
from tests.byte_tokens import CONTEXT, byte_tokens

__all__ = ["byte_tokens"]

Api = Callable[..., TestClient]
AsUser = Callable[[str], TestClient]
LONG = [f"Number {number}: " + "what do you make of this? " * 8 for number in range(12)]  # over 200 bytes each
SAID = "All prompts of this project are too long to train on: “Longest prompt” is 128 tokens, and the shortest of them has"


@pytest.fixture
def measured(engine: Engine, project: Project, byte_tokens: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One whose model has a tokenizer; whoever counts gives way to the other tests, and has the time for it."""
    monkeypatch.setattr(lengths, "PATIENCE_S", 600.0)
    with write_session(engine) as session:
        own = session.get_one(Project, project.id)
        own.base_model = own.counts_of = str(byte_tokens)
    return project


@contextmanager
def counted_writes(engine: Engine) -> Iterator[list[str]]:
    """The statements that change something."""
    writes: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("UPDATE"):
            writes.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield writes
    event.remove(engine, "before_cursor_execute", note)


def with_prompts(engine: Engine, project: Project, texts: list[str], tokens: int | None = None) -> None:
    with write_session(engine) as session:
        add_prompts(session, session.get_one(Project, project.id), [row for row in rows(*texts) if isinstance(row, PromptRow)])
        if tokens is not None:
            store(session, project, [(id, digest, tokens) for id, digest, _ in uncounted(session, project.id)])


def store(session: Session, project: Project, counts: list[tuple[int, str, int | None]]) -> None:
    store_counts(session, project.id, session.get_one(Project, project.id).base_model, counts)


def test_a_project_whose_prompts_are_all_too_long_hears_it_at_import_on_the_page(as_user: AsUser, measured: Project) -> None:
    given = {"pasted": "\n".join(LONG), "format": "text"}
    page = as_user("Grace").post("/projects/demo/prompts/import", data=given, follow_redirects=True).text
    assert f"Imported 12 prompts. {SAID}" in page


def test_over_the_api_and_on_the_command_line(
    api: Api, engine: Engine, measured: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = api("admin", who="Grace").post("/api/v1/projects/demo/prompts", json={"items": [{"text": text} for text in LONG]})
    assert reply.json()["created"] == 12
    assert reply.json()["warning"].startswith(SAID)
    (tmp_path / "prompts.txt").write_text("\n".join(LONG))
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    assert cli.run(engine, parser.parse_args(["demo", str(tmp_path / "prompts.txt")])) == 0
    assert capsys.readouterr().err.startswith(SAID)


def test_one_that_is_short_enough_and_nothing_is_said(engine: Engine, measured: Project) -> None:
    with_prompts(engine, measured, LONG)
    with_prompts(engine, measured, ["How would you explain to a child what a long walk in the hills does for you?"] * 1)
    with read_session(engine) as session:
        prompt = session.scalars(select(Prompt).order_by(Prompt.id.desc()).limit(1)).one()
        assert prompt.split == "train"
        assert 64 < len(prompt.messages[0]["content"]) < 100  # nobody can say without a count
    assert all_too_long(engine, measured.id) == ""


def test_what_was_counted_already_is_not_counted_again(engine: Engine, project: Project) -> None:
    """The project's model is nowhere: no process could say anything."""
    with_prompts(engine, project, LONG, tokens=300)
    assert all_too_long(engine, project.id) == f"{SAID} 300 tokens. The model answers them, but no round can train. " + (
        "Raise the setting, or import shorter prompts."
    )
    with_prompts(engine, project, ["What is it?", "Who was it?", "When was it?", "Where was it?", "Why?", "How?"], tokens=9)
    assert all_too_long(engine, project.id) == ""


def test_where_no_answer_fits_behind_any_prompt_the_other_setting_is_named(engine: Engine, measured: Project) -> None:
    with_prompts(engine, measured, LONG, tokens=CONTEXT)
    assert all_too_long(engine, measured.id).startswith(
        "No prompt of this project leaves the model room for an answer: the shortest has 512 tokens, and with “Longest answer” "
        "at 64 a prompt may have 448."
    )


def test_prompts_are_counted_by_what_becomes_of_them(engine: Engine, measured: Project) -> None:
    texts = [f"Question {number}?" for number in range(40)]
    with_prompts(engine, measured, texts)
    with write_session(engine) as session:
        train = [found for found in uncounted(session, measured.id) if session.get_one(Prompt, found[0]).split == "train"]
        held_out = len(uncounted(session, measured.id)) - len(train)
        tokens = [128, 129, 448, 449, None]  # the last is refused
        store(session, measured, [(id, digest, n) for (id, digest, _), n in zip(train, tokens, strict=False)])
        found = lengths_of(session, session.get_one(Project, measured.id))
    assert (found.all, found.uncounted) == (len(train), len(train) - 5)
    assert (found.not_practised, found.not_answered, found.refused) == (3, 1, 1)
    assert (found.shortest, found.watched, found.all_too_long) == (128, held_out, "")


def test_prompts_that_the_template_refuses_altogether_start_no_round(
    engine: Engine, measured: Project, byte_tokens: Path, tmp_path: Path
) -> None:
    with_prompts(engine, measured, LONG, tokens=REFUSED)
    said = "The model's chat template refuses every prompt of this project, so that no round can train."
    with read_session(engine) as session:
        assert lengths_of(session, session.get_one(Project, measured.id)).all_too_long.startswith(said)
    assert all_too_long(engine, measured.id).startswith(said)
    strict = tmp_path / "strict"
    shutil.copytree(byte_tokens, strict)
    (strict / "chat_template.jinja").write_text("{{ raise_exception('never') }}")
    with write_session(engine) as session:
        session.get_one(Project, measured.id).base_model = str(strict)
    assert all_too_long(engine, measured.id).startswith(said)


def test_a_project_without_prompts_is_not_told_that_they_are_refused(engine: Engine, measured: Project) -> None:
    with read_session(engine) as session:
        assert lengths_of(session, session.get_one(Project, measured.id)).all_too_long == ""
    assert all_too_long(engine, measured.id) == ""


def test_prompts_to_watch_are_the_first_that_fit(engine: Engine, measured: Project) -> None:
    with_prompts(engine, measured, [f"Question {number}?" for number in range(40)])
    with write_session(engine) as session:
        own = session.get_one(Project, measured.id)
        held = [found for found in uncounted(session, own.id) if session.get_one(Prompt, found[0]).split == "holdout"]
        tokens = [300, 100, None]  # too long, short enough, refused; the others are not counted yet
        store(session, own, [(id, digest, n) for (id, digest, _), n in zip(held, tokens, strict=False)])
        shown = [prompt.id for prompt in prompts_to_watch(session, own, 128, 2)]
    assert shown == [held[1][0], held[3][0]]


def test_one_import_at_a_time_is_counted_for_and_none_that_brought_nothing(
    api: Api, engine: Engine, measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    counting = lengths.counting

    def noted(*given: Any) -> Any:
        began.append(time.monotonic())
        return counting(*given)

    monkeypatch.setattr(lengths, "counting", noted)
    program = api("admin", who="Grace")
    ask = partial(program.post, "/api/v1/projects/demo/prompts")
    bodies = [{"items": [{"text": f"{text} {part}"} for text in LONG]} for part in range(3)]
    with ThreadPoolExecutor(3) as crowd:
        replies = [reply.json() for reply in crowd.map(lambda body: ask(json=body), bodies)]
    assert [reply["created"] for reply in replies] == [12, 12, 12]
    assert len(began) == len([reply for reply in replies if reply["warning"]]) == 1
    assert ask(json=bodies[0]).json() | {"duplicates": 12, "created": 0, "warning": None} == ask(json=bodies[0]).json()
    assert len(began) == 1
    assert ask(json={"items": [{"text": text} for text in LONG]}).json()["warning"].startswith(SAID)  # the next one is


def test_the_rounds_own_setting_decides(engine: Engine, project: Project) -> None:
    with_prompts(engine, project, LONG, tokens=300)
    with read_session(engine) as session:
        own = session.get_one(Project, project.id)
        assert lengths_of(session, own).all_too_long
        assert not lengths_of(session, own, practised=300).all_too_long


def test_a_text_that_changes_or_another_model_is_counted_again(engine: Engine, project: Project, byte_tokens: Path) -> None:
    with_prompts(engine, project, ["One?", "Two?"], tokens=5)
    with write_session(engine) as session:
        first = session.scalars(select(Prompt).order_by(Prompt.id).limit(1)).one()
        before = first.digest
        edit_prompt(session, first.id, [{"role": "user", "content": "One more?"}], None)
        assert [found[0] for found in uncounted(session, project.id)] == [first.id]
        store(session, project, [(first.id, before, 7)])  # counted before it changed
        assert [found[0] for found in uncounted(session, project.id)] == [first.id]
    with write_session(engine) as session:
        former = session.get_one(Project, project.id).base_model
        first = session.get_one(Prompt, uncounted(session, project.id)[0][0])
        its = (first.id, first.digest)
        update_project(session, session.get_one(Project, project.id), {"base_model": str(byte_tokens)}, by=None)
        assert lengths_of(session, session.get_one(Project, project.id)).uncounted == 2  # at once, whoever clears them when
        store_counts(session, project.id, former, [(*its, 7)])
        store(session, project, [(*its, 7)])  # beside those of the other
        assert lengths_of(session, session.get_one(Project, project.id)).uncounted == 2
        session.expire_all()
        assert {prompt.tokens for prompt in session.scalars(select(Prompt))} == {None, 5}
    void_other_counts(engine, project.id)
    with write_session(engine) as session:
        assert len(uncounted(session, project.id)) == 2
        store_counts(session, project.id, former, [(*its, 7)])  # counted before it changed
        assert len(uncounted(session, project.id)) == 2
        store(session, project, [(*its, 9)])
        assert lengths_of(session, session.get_one(Project, project.id)).shortest == 9
    void_other_counts(engine, project.id)
    with read_session(engine) as session:
        assert len(uncounted(session, project.id)) == 1


def test_counts_of_another_model_are_taken_back_in_slices(engine: Engine, project: Project) -> None:
    with_prompts(engine, project, [f"Question {number}?" for number in range(FIRST + 50)], tokens=5)
    with write_session(engine) as session:
        session.get_one(Project, project.id).base_model = "another/model"
    with counted_writes(engine) as writes:
        void_other_counts(engine, project.id)
    assert len(writes) == 3  # two slices, and the word that they are taken back


def test_as_many_are_counted_at_once_as_one_process_should(engine: Engine, project: Project) -> None:
    with_prompts(engine, project, [f"Question {number}?" for number in range(COUNTED_AT_ONCE + 3)])
    with read_session(engine) as session:
        assert len(uncounted(session, project.id)) == COUNTED_AT_ONCE


def test_answers_that_the_reward_model_would_cut_are_counted(engine: Engine, project: Project, cast: Cast) -> None:
    add_labels(engine, cast, 1)
    with write_session(engine) as session:
        own = session.get_one(Project, project.id)
        first, second = session.scalars(select(Generation).order_by(Generation.id))
        first.token_ids, second.token_ids = list(range(40)), list(range(20))
        session.get_one(Prompt, first.prompt_id).tokens = 10
        session.flush()
        assert read_in_part(session, own) == 0
        for most, cut in ((50, 0), (49, 1), (29, 2)):
            own.training = {"reward": {"max_tokens": most}}
            session.flush()
            assert read_in_part(session, own) == cut


def test_the_room_of_a_prompt_is_what_the_settings_leave(engine: Engine, measured: Project) -> None:
    with write_session(engine) as session:
        own = session.get_one(Project, measured.id)
        own.sampling, own.training = {"max_new_tokens": 112}, {"ppo": {"max_prompt_tokens": 90}}
        assert room_of(own) == (room_of(own).__class__)(practised=90, answered=CONTEXT - 112, answer=112)
