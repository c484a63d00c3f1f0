"""From which labels a checkpoint learned: the run that froze them, and whether its files still are what they were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from app.models import Checkpoint, Run
from app.runs.checkpoints import get_checkpoint
from app.runs.lineage.label_index import DEMONSTRATIONS, label_files
from app.runs.run_files import run_folder
from app.runs.runs import get_run
from trainer.contract.folder import digest_of


@dataclass(frozen=True, slots=True)
class DataSet:
    """Labels that a run froze, and learned from."""

    run: Run
    files: tuple[str, ...]  # in its folder, of which the digest is
    digest: str  # as it was when they were frozen
    found: str | None  # as it is now; None where a file is gone

    @property
    def is_the_same(self) -> bool:
        return self.found == self.digest


def data_sets(session: Session, checkpoint: Checkpoint, runs: Path) -> list[DataSet]:
    """Those of a checkpoint, their digests computed anew: a policy's are its reward model's and its own demonstrations."""
    if checkpoint.run_id is None:
        return []
    run = get_run(session, checkpoint.run_id)
    own = [_data_set(run, runs)] if run.label_digest is not None else []
    reward = run.inputs.get("reward") if run.kind == "ppo" else None
    return [*(data_sets(session, get_checkpoint(session, reward), runs) if reward is not None else ()), *own]


def digested_files(folder: Path, kind: str, *, demonstrations: bool) -> tuple[str, ...]:
    """Of which files the digest of a run is; `demonstrations`: it also learns next tokens of what people wrote."""
    judged = label_files(folder) if kind in ("reward", "preference") else ()
    return (*judged, DEMONSTRATIONS) if demonstrations else judged


def _data_set(run: Run, runs: Path) -> DataSet:
    demonstrations = run.kind in ("ppo", "sft") or bool(run.config.get("ptx_weight"))
    folder = run_folder(runs, run.id)
    files = digested_files(folder, run.kind, demonstrations=demonstrations)
    assert run.label_digest is not None
    try:
        found = digest_of(folder, *files)
    except FileNotFoundError:
        found = None
    return DataSet(run, files, run.label_digest, found)
