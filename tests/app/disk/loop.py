"""Rounds that left files behind, without any training: small real files where runs put theirs."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from app.models import Checkpoint, Project, Round, utc_now
from app.runs.checkpoints import current_policy, root_of
from tests.app import factories
from trainer.contract.folder import digest_of

LABELS = ("preferences.jsonl", "ratings.jsonl")


def make_round(session: Session, project: Project, data: Path, number: int, *, days_ago: float, promoted: bool) -> Checkpoint:
    """A reward run, a PPO run and its candidate; the candidate."""
    ended = utc_now() - timedelta(days=days_ago)
    base_id = project.policy_id if number == 1 else _base(session, project)
    assert base_id is not None
    assert project.policy_id is not None
    round_ = Round(
        project_id=project.id, number=number, trigger="labels", label_count=1, start_policy_id=project.policy_id, state="done"
    )
    round_.ended_at, round_.decision, round_.reason = ended, "promoted" if promoted else "rejected", factories.written("so")
    session.add(round_)
    session.flush()
    values = {"round_id": round_.id, "ended_at": ended}
    fit = factories.make_run(session, project.id, "reward", inputs={"policy": base_id}, **values)
    folder = data / "runs" / str(fit.id)
    make_checkpoint_files(folder)
    for name in LABELS:
        (folder / name).write_text(json.dumps({"label": number}) + "\n")
    fit.label_digest = digest_of(folder, *LABELS)
    reward = factories.make_checkpoint(
        session, project.id, kind="reward", parent_id=base_id, run_id=fit.id, source=f"runs/{fit.id}/checkpoint"
    )
    reward.label_digest = fit.label_digest
    inputs = {"start": project.policy_id, "reward": reward.id}
    ppo = factories.make_run(session, project.id, "ppo", inputs=inputs, **values)
    make_checkpoint_files(data / "runs" / str(ppo.id))
    state = data / "runs" / str(ppo.id) / "state"
    (state / "safe").mkdir(parents=True)
    (state / "safe" / "adapter.safetensors").write_bytes(b"s" * 300)
    candidate = factories.make_checkpoint(
        session, project.id, parent_id=project.policy_id, run_id=ppo.id, source=f"runs/{ppo.id}/checkpoint"
    )
    round_.reward_id, round_.candidate_id = reward.id, candidate.id
    if promoted:
        project.previous_policy_id, project.policy_id = project.policy_id, candidate.id
        candidate.promoted_at = ended
    session.flush()
    return candidate


def make_checkpoint_files(folder: Path) -> None:
    """What a run leaves: weights, manifest, figures."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"w" * 1000)
    (checkpoint / "manifest.json").write_text(json.dumps({"files": {"adapter_model.safetensors": "0" * 64}}))
    (folder / "run.json").write_text("{}")
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    (folder / "result.json").write_text('{"status": "done"}')


def _base(session: Session, project: Project) -> int:
    return root_of(session, current_policy(session, project)).id


def octets(data: Path) -> int:
    return sum(path.stat().st_size for path in (data / "runs").rglob("*") if path.is_file())
