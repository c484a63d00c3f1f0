"""What a run has written comes back as rows, each once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Checkpoint, Generation, Project, Prompt, Run, Task
from app.prompts.service import prompt_digest
from app.rounds import service
from app.runs.checkpoints import get_checkpoint
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.asked import ask
from tests.app.rounds.test_service import make_labels
from trainer.worker import results


def generation(prompt: Prompt, index: int) -> str:
    row = {"prompt_id": prompt.id, "index": index, "seed": 7, "text": f"Answer {index}", "token_ids": [5], "finish_reason": "eos"}
    return json.dumps(row) + "\n"


def test_generations_are_read_line_by_line_and_each_once(session: Session, demo: Project, tmp_path: Path) -> None:
    prompt = factories.make_prompt(session, demo.id)
    file = tmp_path / "generations.jsonl"
    new = results.NewGenerations(tmp_path, [(prompt.id, 0)])
    assert new.read(10) == []
    file.write_text(generation(prompt, 0) + generation(prompt, 1) + generation(prompt, 2)[:20])
    assert [row["index"] for row in new.read(10)] == [1]
    file.write_text(generation(prompt, 0) + generation(prompt, 1) + generation(prompt, 2) + generation(prompt, 3))
    assert [row["index"] for row in new.read(1)] == [2]
    assert [row["index"] for row in new.read(1)] == [3]
    assert new.read(1) == []


def test_answers_become_rows_and_rows_become_tasks(session: Session, demo: Project, cast: Cast) -> None:
    prompt = factories.make_prompt(session, demo.id)
    run = service.queue_run(session, demo, "sample", {"temperature": 0.5}, {}, cast.grace)
    demo.rating_share = 0.0
    results.store_generations(session, run, [json.loads(generation(prompt, 0)), json.loads(generation(prompt, 1))])
    ask(session, demo)
    stored = session.scalars(select(Generation)).all()
    assert {answer.settings["temperature"] for answer in stored} == {0.5}
    assert results.stored_generations(session, run.id) == [(prompt.id, 0), (prompt.id, 1)]
    task = session.scalars(select(Task)).one()
    assert {task.first_generation_id, task.second_generation_id} == {answer.id for answer in stored}


def test_answers_that_were_chosen_say_so(session: Session, demo: Project, cast: Cast) -> None:
    prompt = factories.make_prompt(session, demo.id)
    passed = {"parent_id": demo.policy_id, "metrics": {"gate_passed": True}}
    reward = factories.make_checkpoint(session, demo.id, kind="reward", **passed)
    run = service.queue_run(session, demo, "sample", {"best_of": 4}, {}, cast.grace)
    results.store_generations(session, run, [json.loads(generation(prompt, 0)) | {"score": 1.5, "mean_score": 0.25}])
    chosen = {"best_of": 4, "reward": reward.id, "score": 1.5, "mean_score": 0.25}
    assert session.scalars(select(Generation)).one().settings == {"temperature": 0.7, "max_new_tokens": 64} | chosen


def test_what_a_sampling_left_out_is_kept_by_the_text_that_was_asked(session: Session, demo: Project, tmp_path: Path) -> None:
    refused, answered = factories.make_prompt(session, demo.id), factories.make_prompt(session, demo.id)
    rows = [{"prompt_id": prompt.id, "messages": prompt.messages} for prompt in (refused, answered)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "result.json").write_text(json.dumps({"status": "done", "refused_prompt_ids": [refused.id]}))
    assert results.read_result(tmp_path)["left_out_digests"] == {prompt_digest(refused.messages): "refused"}
    (tmp_path / "result.json").write_text(json.dumps({"status": "done"}))
    assert results.read_result(tmp_path) == {"status": "done"}


def finished(settings: Settings, run: Run, result: str) -> Path:
    """A folder as a run leaves it."""
    folder = settings.runs / str(run.id)
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "manifest.json").write_text('{"format": 1, "files": {}}')
    (folder / "result.json").write_text(result)
    return folder


def test_a_finished_reward_run_becomes_a_checkpoint_and_its_round_goes_on(
    session: Session, settings: Settings, demo: Project, cast: Cast
) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    run = service.runs_of_round(session, round_.id)[0]
    run.label_digest = "d" * 64
    folder = finished(settings, run, '{"status": "done", "gate_passed": true, "accuracy": 0.71, "nll": NaN}')
    results.record_done(session, run, folder)
    assert round_.reward_id is not None
    reward = get_checkpoint(session, round_.reward_id)
    assert (reward.kind, reward.parent_id, reward.run_id) == ("reward", demo.policy_id, run.id)
    assert (reward.source, reward.label_digest) == (f"runs/{run.id}/checkpoint", "d" * 64)
    assert reward.metrics["accuracy"] == 0.71
    assert run.result["nll"] is None
    assert round_.state == "ppo"


def test_a_tuned_policy_descends_from_its_start_and_carries_the_labels_it_learned_from(
    session: Session, settings: Settings, demo: Project, cast: Cast
) -> None:
    reward = factories.make_checkpoint(session, demo.id, kind="reward", label_digest="e" * 64)
    run = service.queue_run(session, demo, "ppo", {}, {"reward": reward.id}, cast.grace)
    results.record_done(session, run, finished(settings, run, '{"status": "done", "reason": "KL reached 31"}'))
    policy = session.scalars(select(Checkpoint).where(Checkpoint.run_id == run.id)).one()
    assert (policy.kind, policy.parent_id, policy.label_digest) == ("policy", demo.policy_id, "e" * 64)
    assert run.message == factories.written("KL reached 31")


def test_a_tuned_policy_that_learned_from_demonstrations_carries_both(
    session: Session, settings: Settings, demo: Project, cast: Cast
) -> None:
    reward = factories.make_checkpoint(session, demo.id, kind="reward", label_digest="e" * 64)
    digests = set()
    for demonstrations in ("f" * 64, "a" * 64):
        run = service.queue_run(session, demo, "ppo", {}, {"reward": reward.id}, cast.grace)
        run.label_digest = demonstrations
        results.record_done(session, run, finished(settings, run, '{"status": "done"}'))
        digests.add(session.scalars(select(Checkpoint).where(Checkpoint.run_id == run.id)).one().label_digest)
        expected = hashlib.sha256(("e" * 64 + demonstrations).encode()).hexdigest()
        assert expected in digests
    assert len(digests) == 2


def test_a_policy_of_labels_descends_from_its_start_and_carries_them(
    session: Session, settings: Settings, demo: Project, cast: Cast
) -> None:
    make_labels(session, demo, 1, cast.mary)
    run = service.queue_run(session, demo, "preference", {"method": "kto"}, {}, cast.grace)
    run.label_digest = "c" * 64
    results.record_done(session, run, finished(settings, run, '{"status": "done", "preferred_accuracy": 0.7}'))
    policy = session.scalars(select(Checkpoint).where(Checkpoint.run_id == run.id)).one()
    assert (policy.kind, policy.parent_id, policy.label_digest) == ("policy", demo.policy_id, "c" * 64)
    assert policy.metrics["preferred_accuracy"] == 0.7


def test_a_refused_run_tells_its_round_why(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    run = service.runs_of_round(session, round_.id)[0]
    results.record_end(session, run, "failed", factories.written("all verdicts are ties"), {"status": "refused"})
    assert (run.state, round_.state, round_.reason) == ("failed", "refused", factories.written("all verdicts are ties"))
