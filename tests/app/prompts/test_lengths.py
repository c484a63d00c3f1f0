"""What settings leave out, counted before they do; the counting by a real process on a real tokenizer."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Generation, Project, Prompt
from app.projects.service import update_project
from app.prompts import cli
from app.prompts.lengths import (
    COUNTED_AT_ONCE,
    all_too_long,
    lengths_of,
    read_in_part,
    room_of,
    store_counts,
    uncounted,
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
def measured(engine: Engine, project: Project, byte_tokens: Path) -> Project:
    with write_session(engine) as session:
        session.get_one(Project, project.id).base_model = str(byte_tokens)
    return project


def with_prompts(engine: Engine, project: Project, texts: list[str], tokens: int | None = None) -> None:
    with write_session(engine) as session:
        add_prompts(session, session.get_one(Project, project.id), [row for row in rows(*texts) if isinstance(row, PromptRow)])
        if tokens is not None:
            store_counts(session, [(id, digest, tokens) for id, digest, _ in uncounted(session, project.id)])


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
        store_counts(session, [(id, digest, n) for (id, digest, _), n in zip(train, tokens, strict=False)])
        found = lengths_of(session, session.get_one(Project, measured.id))
    assert (found.all, found.uncounted) == (len(train), len(train) - 5)
    assert (found.not_practised, found.not_answered, found.refused) == (3, 1, 1)
    assert (found.shortest, found.watched, found.all_too_long) == (128, held_out, "")


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
        store_counts(session, [(first.id, before, 7)])  # counted before it changed
        assert [found[0] for found in uncounted(session, project.id)] == [first.id]
    with write_session(engine) as session:
        update_project(session, session.get_one(Project, project.id), {"base_model": str(byte_tokens)}, by=None)
        assert len(uncounted(session, project.id)) == 2


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
