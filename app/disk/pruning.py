"""What may be folded away of a project's run folders, and doing so: the same list is shown before, and freed.

What goes: weights and exports of checkpoints that nothing refers to any more, and states of ended runs. What stays of every run:
what it was told, its labels, figures, answers and log, and the manifest of its checkpoint.

The database says first that weights are gone, then the files go. Dying in between leaves files that the next prune takes,
whatever refers to them by then: nobody may use them any more. The other way round somebody would begin with half of a model.
docs/decisions/0052.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.disk.files import Kind, files_of_states, files_of_weights
from app.disk.references import referred
from app.disk.sizes import last_walk
from app.models import Checkpoint, Project, Round, Run, utc_now
from app.runs.run_files import run_folder
from app.runs.runs import LIVE


@dataclass(frozen=True, slots=True)
class Piece:
    """A file that may go, or the empty folder that whoever died in between left of a state or an export."""

    kind: Kind
    run_id: int
    checkpoint_id: int | None  # whose weights, or whose export
    path: Path
    octets: int


@dataclass(slots=True)
class Freed:
    """What a prune came to."""

    pieces: list[Piece] = field(default_factory=list)
    left: list[tuple[Path, str]] = field(default_factory=list)  # that could not be removed, and why

    @property
    def octets(self) -> int:
        return sum(piece.octets for piece in self.pieces)


def plan(session: Session, data: Path, project: Project, before: datetime) -> list[Piece]:
    """What would go, of runs that ended before a moment. Changes nothing."""
    runs = (data / "runs").resolve()
    checkpoints, ended = _due(session, data, project, before)
    pieces: list[Piece] = []
    for one, run_id in checkpoints:
        pieces += [Piece(kind, run_id, one.id, path, octets) for kind, path, octets in files_of_weights(runs, run_id)]
    for run_id in ended:
        pieces += [Piece("states", run_id, None, path, octets) for path, octets in files_of_states(runs, run_id)]
    return pieces


def forecast(session: Session, data: Path, project: Project, before: datetime) -> int:
    """Octets that would go, by what the worker's last walk through the folders found: for a page, which walks through none."""
    checkpoints, ended = _due(session, data, project, before)
    _walk, sizes = last_walk.of(data)
    weights = sum(sizes[run_id].weights for _one, run_id in checkpoints if run_id in sizes)
    return weights + sum(sizes[run_id].states for run_id in ended if run_id in sizes)


def _due(session: Session, data: Path, project: Project, before: datetime) -> tuple[list[tuple[Checkpoint, int]], list[int]]:
    """Checkpoints whose weights are to go, each with its run, and runs whose states are."""
    kept = referred(session, project, data)
    made = {run.id: run for run in session.scalars(select(Run).where(Run.project_id == project.id).order_by(Run.id))}
    again = {run.retry_of_id for run in made.values() if run.state in LIVE}
    lately = set(session.scalars(select(Round.id).where(Round.project_id == project.id, Round.ended_at >= before)))
    checkpoints = []
    for one in session.scalars(select(Checkpoint).where(Checkpoint.project_id == project.id).order_by(Checkpoint.id)):
        run = made.get(one.run_id or 0)
        if run is None or (one.id in kept and one.pruned_at is None):
            continue
        if (data / one.source).resolve() != run_folder((data / "runs").resolve(), run.id) / "checkpoint":
            continue  # weights that do not lie where the run put them are not ours to remove
        if one.pruned_at is not None or (run.round_id not in lately and _is_old(run, before, one.created_at)):
            checkpoints.append((one, run.id))
    return checkpoints, [run.id for run in made.values() if _is_old(run, before) and run.id not in again]


def free(engine: Engine, data: Path, project_id: int, pieces: Iterable[Piece], by: int | None = None) -> Freed:
    """Fold away what was planned, but for what somebody refers to meanwhile. Doing it twice, or two at once, does no harm."""
    wanted = list(pieces)
    with write_session(engine) as session:
        project = hold(session, session.get_one(Project, project_id))
        kept = referred(session, project, data)
        again = select(Run.retry_of_id).where(Run.project_id == project_id, Run.state.in_(LIVE), Run.retry_of_id.is_not(None))
        taken_up = set(session.scalars(again))
        gone_before = select(Checkpoint.id).where(Checkpoint.project_id == project_id, Checkpoint.pruned_at.is_not(None))
        kept -= set(session.scalars(gone_before))
        wanted = [
            piece
            for piece in wanted
            if (piece.checkpoint_id not in kept if piece.kind != "states" else piece.run_id not in taken_up)
        ]
        gone = {piece.checkpoint_id for piece in wanted if piece.checkpoint_id is not None}
        news = session.scalars(select(Checkpoint).where(Checkpoint.id.in_(gone), Checkpoint.pruned_at.is_(None))).all()
        for one in news:
            one.pruned_at = utc_now()
        if news:
            record(session, by, "disk.pruned", project.slug, _noted(wanted), project_id)
    freed = _remove(wanted)
    if freed.octets and not news:  # states, and what an earlier prune left; what cannot be removed is not noted every hour
        with write_session(engine) as session:
            slug = session.get_one(Project, project_id).slug
            record(session, by, "disk.pruned", slug, _noted(freed.pieces), project_id)
    return freed


def _noted(pieces: list[Piece]) -> dict[str, int]:
    weights = {piece.checkpoint_id for piece in pieces if piece.kind == "weights"}
    return {"bytes": sum(piece.octets for piece in pieces), "files": len(pieces), "checkpoints": len(weights)}


def free_what_is_due(engine: Engine, data: Path, project_id: int, before: datetime) -> Freed:
    with read_session(engine) as session:
        pieces = plan(session, data, session.get_one(Project, project_id), before)
    return free(engine, data, project_id, pieces) if pieces else Freed()


def _is_old(run: Run, before: datetime, made_at: datetime | None = None) -> bool:
    ended = run.ended_at or made_at  # runs from before that time was kept
    return run.state not in LIVE and ended is not None and ended < before


def _remove(pieces: list[Piece]) -> Freed:
    """One that cannot be removed holds up none of the others; the next prune tries it again."""
    freed = Freed()
    for piece in pieces:
        try:
            piece.path.rmdir() if not piece.octets and piece.path.is_dir() else piece.path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            freed.left.append((piece.path, error.strerror or str(error)))
            continue
        freed.pieces.append(piece)
    for folder in sorted({piece.path.parent for piece in freed.pieces if piece.kind != "weights"}, reverse=True):
        _remove_empty(folder)
    return freed


def _remove_empty(folder: Path) -> None:
    """The folder of a state or an export, and those that it lies in up to the run's own, while nothing is in them."""
    while not folder.name.isdigit():
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
