"""A round through the real worker to what people say of it: real runs on a small model, judged blind, on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.models import Contender, Evaluation, EvaluationCandidate, EvaluationTask, Generation, Project, Round, Task
from app.queue import asking
from app.rounds import service
from app.runs.checkpoints import get_checkpoint
from app.settings import Settings
from tests.app import factories
from tests.app.evaluation.judged import judge_next
from tests.app.rounds.test_service import label_task
from tests.postgres import engine as on_postgres
from tests.postgres import server
from tests.sft_model import simple_model
from tests.trainer.worker.test_several_methods import work_until_idle
from trainer.worker import supervisor
from trainer.worker.supervisor import Supervisor

__all__ = ["on_postgres", "server", "simple_model"]

PATIENCE_S = 420.0
CONFIG: dict[str, dict[str, Any]] = {
    "reward": {"min_labels": 20},
    "ppo": {"updates": 1, "episodes": 8, "max_new_tokens": 16},
}


@pytest.mark.nightly  # a training of each kind
@pytest.mark.timeout(900)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("improved", [True, False])
def test_people_promote_what_is_better_and_reject_what_is_harmed(
    database: str,
    improved: bool,
    settings: Settings,
    simple_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    engine: Engine = request.getfixturevalue("engine" if database == "sqlite" else "on_postgres")
    settings = settings.model_copy(update={"threads": 1})
    if database == "postgres":
        settings = settings.model_copy(update={"database_url": request.getfixturevalue("server")})
    monkeypatch.setattr(supervisor, "CHORES_S", 0.3)
    with write_session(engine) as session:
        sampling = {"per_prompt": 4, "max_new_tokens": 32, "batch_size": 32}
        values: dict[str, Any] = {
            "evaluation_on": True,
            "evaluation_promotes": True,
            "flags": [],
            "queue_low_mark": 0,
            "rating_share": 0.0,
        }
        project = factories.make_project(session, base_model=str(simple_model), sampling=sampling, **values)
        base_id, project_id = project.policy_id or 0, project.id
        get_checkpoint(session, base_id).source = str(simple_model)
        people = [factories.make_user(session, f"Judge{project_id}-{number}").id for number in range(3)]
        for _ in range(48):
            factories.make_prompt(session, project_id)
        for number in range(24):
            factories.make_prompt(session, project_id, f"What is kept back, number {number}?", split="holdout")
        service.queue_run(session, project, "sample", {"seed": 1}, {}, None)
    worker = Supervisor(engine, settings)
    try:
        work_until_idle(worker, engine)
        asking.ask(engine, project_id, budget_s=60)
        with write_session(engine) as session:
            texts = {row.id: row.text for row in session.scalars(select(Generation))}
            for task in session.scalars(select(Task).where(Task.project_id == project_id)).all():
                left, right = len(texts[task.first_generation_id]), len(texts[task.second_generation_id or 0])
                label_task(session, task, people[0], choice="tie" if left == right else "left" if left < right else "right")
            round_id = service.start_round(session, session.get_one(Project, project_id), "admin", None, CONFIG).id
        round_ = until_decided(worker, engine, round_id, people, by_writer(engine, project_id, improved))

        assert (round_.decision, round_.decided_by) == ("promoted" if improved else "rejected", None), round_.reason
        with read_session(engine) as session:
            project = session.get_one(Project, project_id)
            assert (project.policy_id == round_.candidate_id) == improved
            found = session.execute(
                select(Contender, EvaluationCandidate.standing)
                .join(EvaluationCandidate, EvaluationCandidate.contender_id == Contender.id)
                .join(Evaluation, Evaluation.id == EvaluationCandidate.evaluation_id)
                .where(Evaluation.round_id == round_id)
                .order_by(Contender.kind)
            ).all()
            assert [(one.kind, one.best_of, standing is not None) for one, standing in found] == [
                ("best_of", 4, True),
                ("policy", 1, True),
            ]
            kept = session.scalars(select(Generation).where(Generation.contender_id == found[0][0].id)).all()
            assert len(kept) >= 24
            assert all(row.settings["score"] >= row.settings["mean_score"] for row in kept)
            alone = session.scalars(select(Generation).where(Generation.contender_id == found[1][0].id)).all()
            assert all(row.settings["scored_by"] == round_.reward_id and "score" in row.settings for row in alone)
            foretold = select(EvaluationTask.predicted).join(Task, Task.id == EvaluationTask.task_id)
            assert all(0 < (one or 0) < 1 for one in session.scalars(foretold.where(Task.project_id == project_id)))
    finally:
        worker.close()


def by_writer(engine: Engine, project_id: int, improved: bool) -> Callable[[str, str], str]:
    """Somebody who always knows what the candidate wrote, and likes it or not; of others they know nothing."""

    def prefers(left: str, right: str) -> str:
        with read_session(engine) as session:
            policy_id = session.get_one(Project, project_id).policy_id
            wrote = select(Generation.checkpoint_id).join(Contender, Contender.id == Generation.contender_id)
            alone = wrote.where(Contender.kind == "policy")
            mine = [session.scalars(alone.where(Generation.text == text)).all() for text in (left, right)]
        new = [any(one != policy_id for one in writers) for writers in mine]
        if new[0] == new[1]:
            return "tie"
        return "left" if new[0] == improved else "right"

    return prefers


def until_decided(
    worker: Supervisor, engine: Engine, round_id: int, people: list[int], prefers: Callable[[str, str], str]
) -> Round:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        worker.tick()
        with read_session(engine) as session:
            round_ = session.get_one(Round, round_id)
            session.expunge(round_)
        if round_.ended_at is not None or round_.state == "decision":
            return round_
        if round_.state == "evaluation":
            for person in people:
                judge_next(engine, round_.project_id, person, prefers)
        assert time.monotonic() < deadline, (round_.state, round_.reason)
        time.sleep(0.05)
