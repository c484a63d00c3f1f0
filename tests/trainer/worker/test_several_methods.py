"""A round of two methods through the real worker: real runs on a small model, from the same labels, a candidate of each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Generation, Project, Run, Task
from app.queue import asking
from app.rounds import service
from app.runs.checkpoints import get_checkpoint, policies_of_round
from app.runs.lineage.label_index import LABEL_FILES
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import label_task
from tests.sft_model import simple_model
from trainer.contract.folder import digest_of
from trainer.worker.supervisor import Supervisor

__all__ = ["simple_model"]

PATIENCE_S = 420.0
CONFIG: dict[str, dict[str, Any]] = {
    "reward": {"min_labels": 20},
    "ppo": {"updates": 1, "episodes": 8, "max_new_tokens": 16},
    "preference": {"epochs": 4, "looks": 4, "batch_size": 8, "learning_rate": 0.002, "look_answers": 4, "max_new_tokens": 16},
}


def work_until_idle(worker: Supervisor, engine: Engine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        worker.tick()
        with read_session(engine) as session:
            live = session.scalars(select(Run.id).where(Run.state.in_(("queued", "running")))).all()
        if not live:
            return
        assert time.monotonic() < deadline, "it did not end in time"
        time.sleep(0.05)


@pytest.mark.nightly  # three trainings, and few held-out labels: now and then nothing is kept of the second, as it should be
@pytest.mark.timeout(900)
def test_two_methods_learn_from_one_digest_and_people_choose_among_what_comes_out(
    engine: Engine, cast: Cast, settings: Settings, simple_model: Path
) -> None:
    settings = settings.model_copy(update={"threads": 1})
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        demo.base_model, demo.queue_low_mark, demo.rating_share = str(simple_model), 0, 0.0
        demo.sampling = {"per_prompt": 4, "max_new_tokens": 32, "batch_size": 32}
        assert demo.policy_id is not None
        get_checkpoint(session, demo.policy_id).source = str(simple_model)
        for _ in range(48):
            factories.make_prompt(session, demo.id)
        factories.make_prompt(session, demo.id, "What is kept back?", split="holdout")
        service.queue_run(session, demo, "sample", {"seed": 1}, {}, cast.grace)
    worker = Supervisor(engine, settings)
    try:
        work_until_idle(worker, engine)
        asking.ask(engine, cast.demo, budget_s=60)
        with write_session(engine) as session:
            texts = {row.id: row.text for row in session.scalars(select(Generation))}
            tasks = session.scalars(select(Task)).all()
            for task in tasks:
                left, right = len(texts[task.first_generation_id]), len(texts[task.second_generation_id or 0])
                label_task(session, task, cast.mary, choice="tie" if left == right else "left" if left < right else "right")
            demo = session.get_one(Project, cast.demo)
            round_ = service.start_round(session, demo, "admin", cast.grace, CONFIG, methods=service.METHODS)
            round_id = round_.id
        work_until_idle(worker, engine)

        with read_session(engine) as session:
            round_ = service.get_round(session, round_id)
            assert (round_.state, round_.reason) == ("decision", None)
            runs = {run.kind: run for run in service.runs_of_round(session, round_id) if run.kind != "sample"}
            folders = [settings.runs / str(runs[kind].id) for kind in ("reward", "preference")]
            assert {digest_of(folder, *LABEL_FILES) for folder in folders} == {runs["reward"].label_digest}
            candidates = policies_of_round(session, round_id)
            assert [run.kind for one in candidates for run in runs.values() if run.id == one.run_id] == ["ppo", "preference"]
            assert {one.label_digest for one in candidates} == {runs["reward"].label_digest}
            assert len({one.digest for one in candidates}) == 2
            for one in candidates:
                answered = session.scalars(select(Generation.prompt_id).where(Generation.checkpoint_id == one.id)).all()
                assert len(set(answered)) == 49

        with write_session(engine) as session:
            demo, second = session.get_one(Project, cast.demo), candidates[1].id
            service.promote(session, get_checkpoint(session, second), cast.grace, confirmed=True)
            assert (service.get_round(session, round_id).decision, demo.policy_id) == ("promoted", second)
            chosen = service.queue_run(session, demo, "sample", {"best_of": 4, "per_prompt": 1}, {}, cast.grace).id
        work_until_idle(worker, engine)

        with read_session(engine) as session:
            run = service.get_run(session, chosen)
            assert run.state == "done", run.message
            kept = session.scalars(select(Generation).where(Generation.run_id == chosen)).all()
            assert len(kept) == 48
            assert all(row.settings["best_of"] == 4 and row.settings["reward"] == round_.reward_id for row in kept)
            assert run.result["score"] > run.result["mean_score"]
            assert all(row.settings["score"] >= row.settings["mean_score"] for row in kept)
    finally:
        worker.close()
