"""A model outside through the real worker: asked over HTTP, its answers rows, judged blind, counted, and learned from by text."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app.contenders.outside.service import Registration, register
from app.contenders.service import name_outside
from app.database.engine import read_session, write_session
from app.evaluation import answering
from app.models import Contender, Evaluation, Generation, OutsideModel, Project, Prompt, Run, utc_now
from app.queue import given
from app.rounds import people_decide, retry
from app.runs.checkpoints import current_policy
from app.runs.runs import queue_run, request_cancel
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.judged import judge_next
from tests.trainer.contract.outside.chat_server import Reply, echo, no, serving
from tests.trainer.worker.test_several_methods import work_until_idle
from trainer.worker.label_files import freeze_labels
from trainer.worker.supervisor import Supervisor

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(autouse=True)
def no_wish_of_its_own(engine: Engine, cast: Cast) -> None:
    """The project `demo` asks for no answers of its policy."""
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).queue_low_mark = 0


def picked(engine: Engine, project_id: int, address: str, key_variable: str = "", **prices: float) -> int:
    with write_session(engine) as session:
        given_to_us = Registration("GPT", address, "gpt-x", key_variable, True, **prices)
        model = register(session, given_to_us, None)
        return name_outside(session, session.get_one(Project, project_id), model.id, None).id


def test_its_answers_are_rows_and_what_it_cost_is_said(
    engine: Engine, cast: Cast, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAMPLE_API_KEY", "s3cret")
    monkeypatch.setenv("OTHER_API_KEY", "n0ne")
    with write_session(engine) as session:
        prompts = {factories.make_prompt(session, cast.demo, f"Question {number}?").id for number in range(3)}
    worker = Supervisor(engine, settings)
    try:
        with serving() as there:
            contender = picked(engine, cast.demo, there.address, "EXAMPLE_API_KEY", prompt_price=1.0, answer_price=2.0)
            with write_session(engine) as session:
                queue_run(
                    session, session.get_one(Project, cast.demo), "ask", {"per_prompt": 2}, {"contender": contender}, cast.grace
                )
            work_until_idle(worker, engine)
    finally:
        worker.close()
    assert {one["Authorization"] for one in there.headers} == {"Bearer s3cret"}
    with read_session(engine) as session:
        run = session.scalars(select(Run).where(Run.kind == "ask")).one()
        assert (run.state, run.result["generations"], run.result["answer_tokens"]) == ("done", 6, 30), run.message
        assert run.result["cost_usd"] == pytest.approx((42 + 60) / 1e6)
        found = session.scalars(select(Generation).where(Generation.contender_id == contender)).all()
        assert {(one.prompt_id, one.number) for one in found} == {(prompt, number) for prompt in prompts for number in (0, 1)}
        assert {(one.checkpoint_id, one.token_ids, one.seed, one.run_id) for one in found} == {(None, None, None, run.id)}
        assert {one.finish_reason for one in found} == {"eos"}
        folder = settings.data / "runs" / str(run.id)
    told = json.loads((folder / "run.json").read_text())["inputs"]
    assert (told["address"], told["model"], told["key_variable"]) == (there.address, "gpt-x", "EXAMPLE_API_KEY")
    assert all("s3cret" not in path.read_text(errors="replace") for path in folder.iterdir() if path.is_file())


def test_labels_of_its_answers_train_by_their_text(engine: Engine, cast: Cast, tmp_path: Path) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        prompt = factories.make_prompt(session, cast.demo, "Why?")
        model = factories.make_outside(session, "GPT")
        contender = name_outside(session, project, model.id, None)
        run = factories.make_run(session, cast.demo, "ask", inputs={"contender": contender.id})
        theirs = factories.bring_in(session, prompt, contender, "Because of that.")
        theirs.run_id = run.id
        ours = factories.make_generation(session, prompt, project.policy_id or 0, "So.")
        given.ask_about(session, project, [(theirs.id, ours.id)], cast.grace)
    assert judge_next(engine, cast.demo, cast.mary, lambda left, _right: "left" if left == "Because of that." else "right")
    with read_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        _digest, count = freeze_labels(session, current_policy(session, project), cast.demo, tmp_path)
    assert count == 1
    (row,) = [json.loads(line) for line in (tmp_path / "preferences.jsonl").read_text().splitlines()]
    side = "left" if row["left"]["text"] == "Because of that." else "right"
    assert (row["choice"], row[side]) == (side, {"text": "Because of that.", "token_ids": None})


def test_it_stands_in_an_evaluation_once_it_has_answered(engine: Engine, cast: Cast, settings: Settings) -> None:
    worker = Supervisor(engine, settings)
    try:
        with serving() as there:
            contender = picked(engine, cast.demo, there.address)
            with write_session(engine) as session:
                project = session.get_one(Project, cast.demo)
                imported = factories.make_stranger(session, cast.demo)
                for number in range(4):
                    prompt = factories.make_prompt(session, cast.demo, f"Held out {number}?", split="holdout")
                    for answer in range(4):
                        factories.bring_in(session, prompt, imported, f"Theirs {number} {answer}", answer)
                started = answering.start(session, project, [contender], imported.id, cast.grace).id
            people_decide.look_after(engine, cast.demo)
            with read_session(engine) as session:
                assert session.get_one(Evaluation, started).state == "answering", "it has yet to answer"
            work_until_idle(worker, engine)
    finally:
        worker.close()
    people_decide.look_after(engine, cast.demo)
    with read_session(engine) as session:
        assert session.get_one(Evaluation, started).state == "open"
        held_out = select(Prompt.id).where(Prompt.split == "holdout")
        written = select(Generation.prompt_id).join(Contender, Contender.id == Generation.contender_id)
        assert set(session.scalars(written.where(Contender.kind == "outside"))) == set(session.scalars(held_out))


def test_a_run_that_failed_is_done_again_for_what_is_missing(engine: Engine, cast: Cast, settings: Settings) -> None:
    with write_session(engine) as session:
        prompts = [factories.make_prompt(session, cast.demo, f"Question {number}?").id for number in range(4)]

    def wrong_after_two(body: dict[str, object], number: int) -> Reply:
        return echo(body) if number <= 2 else no(401, "expired")

    worker = Supervisor(engine, settings)
    try:
        with serving(wrong_after_two) as there:
            contender = picked(engine, cast.demo, there.address)
            with write_session(engine) as session:
                project = session.get_one(Project, cast.demo)
                run = queue_run(session, project, "ask", {"per_prompt": 1, "at_once": 1}, {"contender": contender}, cast.grace).id
            work_until_idle(worker, engine)
        with write_session(engine) as session:
            failed = session.get_one(Run, run)
            assert failed.state == "failed"
            assert "expired" in str(failed.message)
            assert failed.result["answer_tokens"] == 10, "what it cost is said of a run that failed, too"
            again = retry.retry_run(session, failed, cast.grace)
            assert again.inputs["prompt_ids"] == prompts[2:]
            request_cancel(session, again, cast.grace)
    finally:
        worker.close()


def test_a_cancelled_run_ends_within_seconds_and_keeps_what_there_is(engine: Engine, cast: Cast, settings: Settings) -> None:
    with write_session(engine) as session:
        for number in range(4):
            factories.make_prompt(session, cast.demo, f"Question {number}?")
    end = threading.Event()

    def slow_after_two(body: dict[str, object], number: int) -> Reply:
        if number > 2:
            end.wait(60)
        return echo(body)

    worker = Supervisor(engine, settings)
    try:
        with serving(slow_after_two) as there:
            contender = picked(engine, cast.demo, there.address)
            with write_session(engine) as session:
                project = session.get_one(Project, cast.demo)
                run = queue_run(session, project, "ask", {"per_prompt": 1}, {"contender": contender}, cast.grace).id
            while len(there.asked) < 4:
                worker.tick()
            with write_session(engine) as session:
                request_cancel(session, session.get_one(Run, run), cast.grace)
            work_until_idle(worker, engine)
            end.set()
    finally:
        worker.close()
    with read_session(engine) as session:
        cancelled = session.get_one(Run, run)
        assert (cancelled.state, cancelled.result["answer_tokens"]) == ("cancelled", 10)
        assert len(session.scalars(select(Generation).where(Generation.run_id == run)).all()) == 2


def test_a_model_out_of_use_is_asked_by_no_run_that_was_queued_before(engine: Engine, cast: Cast, settings: Settings) -> None:
    worker = Supervisor(engine, settings)
    try:
        with serving() as there:
            contender = picked(engine, cast.demo, there.address)
            with write_session(engine) as session:
                factories.make_prompt(session, cast.demo)
                run_id = queue_run(
                    session, session.get_one(Project, cast.demo), "ask", {"per_prompt": 1}, {"contender": contender}, None
                ).id
                for model in session.scalars(select(OutsideModel)):
                    model.archived_at = utc_now()
            work_until_idle(worker, engine)
    finally:
        worker.close()
    assert there.asked == []
    with read_session(engine) as session:
        run = session.get_one(Run, run_id)
        assert (run.state, run.message and run.message.code) == ("failed", "model_outside_archived")
