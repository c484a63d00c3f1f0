"""The worker on PostgreSQL, which refuses what SQLite takes: nothing that a model writes ends it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Generation, Project, Run
from app.rounds import service
from app.runs.checkpoints import get_checkpoint
from app.settings import Settings
from tests.app import factories
from tests.postgres import engine, server
from trainer.lm.simple_lm import SimpleLM, SimpleLMConfig, train_tokenizer
from trainer.worker import freeze, results, supervisor
from trainer.worker.supervisor import Supervisor

__all__ = ["engine", "server"]

PROMPTS, ANSWERS, TOKENS = 6, 8, 40  # 1,920 tokens of 259: that none of them is the byte 0 happens once in 1,600


@pytest.fixture
def settings(tmp_path: Path, server: str) -> Settings:
    return Settings(data=tmp_path, database_url=server, threads=1)


@pytest.fixture
def project_id(engine: Engine, tmp_path: Path) -> int:
    """A project on a byte-level model with random weights."""
    folder = tmp_path / "model"
    torch.manual_seed(0)
    SimpleLM(SimpleLMConfig(vocab_size=259, embedding_size=8, hidden_size=16)).save_pretrained(folder)
    train_tokenizer(["a"], 259).save_pretrained(folder)
    with write_session(engine) as session:
        sampling = {"per_prompt": ANSWERS, "max_new_tokens": TOKENS, "batch_size": 16}
        project = factories.make_project(session, base_model=str(folder), sampling=sampling, queue_low_mark=0)
        assert project.policy_id is not None
        get_checkpoint(session, project.policy_id).source = str(folder)
        for _ in range(PROMPTS):
            factories.make_prompt(session, project.id)
        return project.id


@pytest.fixture
def worker(engine: Engine, settings: Settings) -> Iterator[Supervisor]:
    one = Supervisor(engine, settings)
    yield one
    one.close()


def queue_sample(engine: Engine, project_id: int) -> int:
    with write_session(engine) as session:
        return service.queue_run(session, session.get_one(Project, project_id), "sample", {}, {}, None).id


def look_until(one: Supervisor, engine: Engine, run_id: int, done: Callable[[Run], bool]) -> Run:
    """Looks as `Supervisor.run` does, which lives on whatever a look raises."""
    deadline = time.monotonic() + 60
    while True:
        looks = [True, False]
        one.run(looks.pop)
        with read_session(engine) as session:
            run = service.get_run(session, run_id)
        if done(run):
            return run
        assert time.monotonic() < deadline, run.message


@pytest.fixture(autouse=True)
def _stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` of a look or two does not leave, and does not sleep long."""
    monkeypatch.setattr(Supervisor, "close", lambda self: None)
    monkeypatch.setattr(supervisor, "LOOK_S", 0.05)


def test_a_nul_that_a_model_wrote_is_stored_as_a_sign_that_stands_for_it(
    engine: Engine, project_id: int, worker: Supervisor
) -> None:
    run = look_until(worker, engine, queue_sample(engine, project_id), lambda run: run.ended_at is not None)
    assert run.state == "done", run.message
    nul = train_tokenizer(["a"], 259).convert_tokens_to_ids("Ā")
    with read_session(engine) as session:
        answers = session.scalars(select(Generation).where(Generation.run_id == run.id)).all()
        written = [answer for answer in answers if nul in (answer.token_ids or ())]
        assert len(answers) == PROMPTS * ANSWERS
        assert written
        assert all("\ufffd" in answer.text and "\0" not in answer.text for answer in written)


def test_an_answer_that_cannot_be_stored_is_left_out_alone(engine: Engine, project_id: int) -> None:
    run_id = queue_sample(engine, project_id)
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, project_id).id
        rows = [
            {"prompt_id": prompt_id, "index": index, "seed": seed, "text": "Yes.", "token_ids": [1], "finish_reason": "eos"}
            for prompt_id, index, seed in ((prompt, 0, 1), (2**40, 0, 1), (prompt, 1, 2**70), (prompt, 0, 1), (prompt, 2, 1))
        ]
        results.store_generations(session, service.get_run(session, run_id), rows)
        assert sorted(results.stored_generations(session, run_id)) == [(prompt, 0), (prompt, 2)]  # rows come in any order


def test_a_line_that_is_no_answer_is_left_out_alone(engine: Engine, tmp_path: Path) -> None:
    good = {"prompt_id": 1, "index": 0, "seed": 1, "text": "Yes.", "token_ids": [1], "finish_reason": "eos"}
    lines = [json.dumps(good), '{"text": "of no prompt"}', "[1]", "\x00\x00", json.dumps(good | {"index": 1})]
    (tmp_path / "generations.jsonl").write_text("".join(line + "\n" for line in lines))
    assert [row["index"] for row in results.NewGenerations(tmp_path, []).read(9)] == [0, 1]


def test_what_cannot_be_stored_however_often_one_tries_fails_the_run_and_not_the_worker(
    engine: Engine, project_id: int, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise KeyError("of a bug")

    monkeypatch.setattr(results, "store_generations", fail)
    run = look_until(worker, engine, queue_sample(engine, project_id), lambda run: run.ended_at is not None)
    assert run.state == "failed"
    assert run.message is not None
    assert run.message.code == "not_stored"
    assert worker._held is None


def test_a_chore_that_fails_ends_no_worker_and_holds_up_no_run(
    engine: Engine, project_id: int, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise KeyError("of a bug")

    monkeypatch.setattr(supervisor, "look_after_projects", fail)
    run = look_until(worker, engine, queue_sample(engine, project_id), lambda run: run.ended_at is not None)
    assert run.state == "done"


def test_a_run_that_cannot_be_prepared_fails_and_says_why(
    engine: Engine, project_id: int, worker: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise KeyError("of a bug")

    monkeypatch.setattr(freeze, "prepare", fail)
    run = look_until(worker, engine, queue_sample(engine, project_id), lambda run: run.ended_at is not None)
    assert run.state == "failed"
    assert run.message is not None
    assert run.message.code == "not_prepared"
