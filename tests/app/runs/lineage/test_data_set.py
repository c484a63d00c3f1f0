"""From which labels a checkpoint learned: its reward model's and its own, and whether the files still are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.models import Checkpoint, Project, Run
from app.runs.lineage.data_set import data_sets, digested_files
from app.settings import Settings
from tests.app import factories
from trainer.contract.folder import digest_of


def freeze(session: Session, settings: Settings, run: Run, *names: str) -> Path:
    """A run that froze these files."""
    folder = settings.runs / str(run.id)
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(f'{{"label_id": {run.id}, "of": "{name}"}}\n', encoding="utf-8")
    run.label_digest, run.label_count = digest_of(folder, *names), len(names)
    session.flush()
    return folder


@pytest.fixture
def reward(session: Session, settings: Settings, demo: Project) -> Checkpoint:
    run = factories.make_run(session, demo.id, "reward", state="done")
    freeze(session, settings, run, "preferences.jsonl", "ratings.jsonl")
    return factories.make_checkpoint(session, demo.id, kind="reward", run_id=run.id, label_digest=run.label_digest)


def test_a_reward_model_has_the_labels_of_its_run(session: Session, settings: Settings, reward: Checkpoint) -> None:
    (found,) = data_sets(session, reward, settings.runs)
    assert (found.run.id, found.files, found.digest) == (
        reward.run_id,
        ("preferences.jsonl", "ratings.jsonl"),
        reward.label_digest,
    )
    assert found.is_the_same

    (settings.runs / str(reward.run_id) / "ratings.jsonl").write_text("another\n")
    (changed,) = data_sets(session, reward, settings.runs)
    assert not changed.is_the_same
    assert changed.found not in (None, changed.digest)

    (settings.runs / str(reward.run_id) / "ratings.jsonl").unlink()
    (gone,) = data_sets(session, reward, settings.runs)
    assert (gone.found, gone.is_the_same) == (None, False)


def test_a_policy_has_those_of_its_reward_model_and_its_own_demonstrations(
    session: Session, settings: Settings, demo: Project, reward: Checkpoint
) -> None:
    plain = factories.make_run(session, demo.id, "ppo", state="done", inputs={"reward": reward.id})
    policy = factories.make_checkpoint(session, demo.id, run_id=plain.id)
    assert [one.run.id for one in data_sets(session, policy, settings.runs)] == [reward.run_id]

    shown = factories.make_run(session, demo.id, "ppo", state="done", inputs={"reward": reward.id}, config={"ptx_weight": 1.0})
    freeze(session, settings, shown, "rewrites.jsonl")
    both = data_sets(session, factories.make_checkpoint(session, demo.id, run_id=shown.id), settings.runs)
    assert [(one.run.id, one.is_the_same) for one in both] == [(reward.run_id, True), (shown.id, True)]


def test_a_base_model_learned_from_nobody_here(session: Session, settings: Settings, demo: Project) -> None:
    base = session.get_one(Checkpoint, demo.policy_id)
    assert data_sets(session, base, settings.runs) == []


@pytest.mark.parametrize(
    ("kind", "demonstrations", "files"),
    [
        ("reward", False, ("preferences.jsonl", "ratings.jsonl")),
        ("preference", False, ("preferences.jsonl", "ratings.jsonl")),
        ("preference", True, ("preferences.jsonl", "ratings.jsonl", "rewrites.jsonl")),
        ("ppo", True, ("rewrites.jsonl",)),
        ("sft", True, ("rewrites.jsonl",)),
    ],
)
def test_which_files_a_digest_is_of(kind: str, demonstrations: bool, files: tuple[str, ...], tmp_path: Path) -> None:
    assert digested_files(tmp_path, kind, demonstrations=demonstrations) == files
