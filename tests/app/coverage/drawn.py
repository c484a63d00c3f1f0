"""A map of prompts, as a reward run leaves it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from app.models import utc_now
from app.runs.run_files import run_folder
from tests.app import factories
from trainer.contract.coverage.clusters import Cluster, Coverage, write


def draw(session: Session, project_id: int, runs: Path, *clusters: Cluster, state: str = "done") -> int:
    """The run's id."""
    run = factories.make_run(session, project_id, "reward", state=state, ended_at=utc_now())
    folder = run_folder(runs, run.id)
    folder.mkdir(parents=True)
    write(folder, Coverage(clusters, 6, 32, {4: 0.25}))
    return run.id
