"""The newest map of a project's prompts, and which of them are in one of its clusters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Run
from app.runs.run_files import run_folder
from trainer.contract.coverage import clusters
from trainer.contract.coverage.clusters import Coverage

LOOKED_AT: Final = 20  # newest reward runs; one of too few prompts draws none


@dataclass(frozen=True, slots=True)
class PromptMap:
    run_id: int
    drawn_at: datetime | None
    coverage: Coverage


def newest_map(session: Session, project_id: int, runs: Path) -> PromptMap | None:
    """`runs`: where run folders are. None while no reward run has drawn any."""
    done = (
        select(Run.id, Run.ended_at)
        .where(Run.project_id == project_id, Run.kind == "reward", Run.state == "done")
        .order_by(Run.id.desc())
        .limit(LOOKED_AT)
    )
    for run_id, ended_at in session.execute(done):
        coverage = clusters.read(run_folder(runs, run_id))
        if coverage is not None:
            return PromptMap(run_id, ended_at, coverage)
    return None


def key_of(run_id: int, number: int) -> str:
    """How a cluster is named: by the run that drew its map, too, so that a later map moves no prompts under anybody's hands."""
    return f"{run_id}.{number}"


def prompts_in(session: Session, project_id: int, runs: Path, key: str) -> tuple[int, ...]:
    """Those in the cluster of this key; none where there is no such cluster, or its map is gone."""
    run_id, number = map(int, key.split("."))
    drawn = select(Run.id).where(Run.id == run_id, Run.project_id == project_id, Run.kind == "reward", Run.state == "done")
    coverage = clusters.read(run_folder(runs, run_id)) if session.scalar(drawn) is not None else None
    if coverage is None or number > len(coverage.clusters):
        return ()
    return coverage.clusters[number - 1].prompt_ids
