"""A finished round with its run folders, and a running one: what the pages of rounds have to tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Project, Round, Worker, utc_now
from tests.app import factories
from trainer.contract.messages import Message

STEPS = 5


@dataclass(frozen=True)
class Told:
    """Ids."""

    round: int
    reward: int
    ppo: int
    candidate: int
    sample: int


def tell(session: Session, project: Project, runs: Path, *, state: str = "decision", number: int = 1) -> Told:
    """A round that waits for a decision, with its reward model, its PPO run's figures and answers on two held-out prompts."""
    assert project.policy_id is not None
    began = utc_now() - timedelta(hours=number)
    unended = session.scalars(select(Round).where(Round.project_id == project.id, Round.ended_at.is_(None))).all()
    for earlier in unended:  # a project has one round at a time
        earlier.state, earlier.ended_at = "cancelled", began
    session.flush()
    round_ = Round(
        project_id=project.id,
        number=number,
        state=state,
        trigger="labels",
        label_count=120,
        start_policy_id=project.policy_id,
        started_at=began,
    )
    session.add(round_)
    session.flush()
    ended = {"round_id": round_.id, "started_at": began, "ended_at": began + timedelta(minutes=3), "message": Message("done")}
    reward_run = factories.make_run(session, project.id, "reward", label_count=120, **ended)
    reward = factories.make_checkpoint(
        session,
        project.id,
        kind="reward",
        name=Message("reward_of_round", number=number),
        run_id=reward_run.id,
        parent_id=project.policy_id,
        metrics={
            "accuracy": 0.714,
            "accuracy_low": 0.641,
            "accuracy_high": 0.776,
            "decided": 150,
            "comparisons": 165,
            "ties": 15,
            "ceiling": 0.9,
            "ceiling_low": 0.78,
            "ceiling_high": 0.97,
            "agreement": 0.82,
            "agreement_pairs": 40,
            "length_correlation": 0.12,
            "shorter_accuracy": 0.58,
            "shorter_decided": 60,
            "longer_accuracy": 0.8,
            "longer_decided": 90,
            "criteria": {
                "clear": {"labels": 80, "accuracy": 0.66, "accuracy_low": 0.55, "accuracy_high": 0.76, "weight": 0.5},
                "rare": {"labels": 3, "weight": 0.0},
            },
            "annotators": {"annotator-1": {"decided": 150, "accuracy": 0.714, "reliability": 0.91}},
            "groups": {"layer_16": 0.55, "sum_0": 0.25, "log_length": 0.2},
            "reliability_diagram": [
                {"confidence": 0.53, "accuracy": 0.5, "count": 38},
                {"confidence": 0.61, "accuracy": 0.66, "count": 38},
                {"confidence": 0.74, "accuracy": 0.79, "count": 37},
                {"confidence": 0.9, "accuracy": 0.86, "count": 37},
            ],
            "judge_accuracy": 0.62,
            "form": "head",
        },
    )
    result = {
        "status": "done",
        "updates": STEPS,
        "score_before": -0.12,
        "score": 0.81,
        "kl_nats_per_answer": 7.4,
        "length_before": 41.0,
        "length": 53.0,
    }
    ppo = factories.make_run(session, project.id, "ppo", config={"episodes": 32, "updates": STEPS}, result=result, **ended)
    candidate = factories.make_checkpoint(
        session,
        project.id,
        name=Message("policy_of_round", number=number),
        run_id=ppo.id,
        parent_id=project.policy_id,
        metrics={"score": 0.81},
    )
    sample = factories.make_run(session, project.id, "sample", inputs={"checkpoint": candidate.id}, **ended)
    round_.reward_id, round_.candidate_id = reward.id, candidate.id
    prompts = [factories.make_prompt(session, project.id, f"Held out {number}.{index}", split="holdout") for index in (1, 2)]
    for prompt in prompts:
        factories.make_generation(session, prompt, project.policy_id, "It was dark and stormy.")
        factories.make_generation(session, prompt, candidate.id, "You will like this: <b>sun</b>.", run_id=sample.id)
    write_run(runs / str(ppo.id), [prompt.id for prompt in prompts])
    session.flush()
    return Told(round_.id, reward.id, ppo.id, candidate.id, sample.id)


def write_run(folder: Path, prompt_ids: list[int], steps: int = STEPS) -> None:
    """The files a PPO run leaves for people to read."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "step": step,
            "time": "",
            "rollout/score": step * 0.2,
            "rollout/score_deviation": 1.0,
            "kl/exact_nats_per_answer": step * 1.5,
            "rollout/length": 40 + step,
            "rollout/truncated": 0.25,
            "losses/policy_loss": -0.01 * step,
        }
        for step in range(steps)
    ]
    samples = [
        {"step": step, "prompt_id": prompt_id, "text": f"Answer at step {step}", "score": 0.1 * step, "kl_nats": 1.0 * step}
        for step in range(steps)
        for prompt_id in prompt_ids
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples), encoding="utf-8")
    (folder / "log.txt").write_text("[4/5] score +0.80\n", encoding="utf-8")


def keep_checkpoint(folder: Path) -> None:
    """The files of a checkpoint."""
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"x" * 2048)
    (folder / "manifest.json").write_text(
        json.dumps({"format": 1, "files": {"adapter.safetensors": "ab" * 32}}), encoding="utf-8"
    )


def a_worker(session: Session) -> None:
    session.add(Worker(name="box-1"))
    session.flush()
