"""Which checkpoints of a project anything still refers to, so that their weights stay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.models import Checkpoint, Contender, Evaluation, EvaluationCandidate, Project, Round, Run
from app.runs.runs import LIVE

INPUTS = ("checkpoint", "policy", "start", "base", "reward", "scored_by")  # of a run, that name checkpoints
OPEN_ROUND = ("reward", "ppo", "sample", "evaluation", "decision")
OPEN_EVALUATION = ("answering", "open")


def referred(session: Session, project: Project, data: Path) -> set[int]:
    """Ids: policies in force now or once, so that going back stays possible; what open rounds, open evaluations and live runs
    work with; the newest reward models of each base, which the warm process asks and the next refit begins from; what other
    projects build on; and of all these the lineage, with the reward models that they were trained against.
    """
    own = {one.id: one for one in session.scalars(select(Checkpoint).where(Checkpoint.project_id == project.id))}
    made = {run.id: run for run in session.scalars(select(Run).where(Run.project_id == project.id))}
    roots = {one.id for one in own.values() if one.run_id is None or one.promoted_at is not None}
    roots |= {project.policy_id or 0, project.previous_policy_id or 0}
    roots |= _of_rounds(session, project.id, own, made) | _of_evaluations(session, project.id)
    roots |= {number for run in made.values() if run.state in LIVE for number in _named(run)}
    roots |= _newest_rewards(own.values())
    elsewhere = _runs_used_elsewhere(session, project.id, data)
    roots |= {one.id for one in own.values() if one.run_id in elsewhere}
    return _with_lineage(roots & own.keys(), own, made)


def _of_rounds(session: Session, project_id: int, own: dict[int, Checkpoint], made: dict[int, Run]) -> set[int]:
    found: set[int] = set()
    for round_ in session.scalars(select(Round).where(Round.project_id == project_id, Round.state.in_(OPEN_ROUND))):
        found |= {round_.start_policy_id, round_.reward_id or 0, round_.candidate_id or 0}
        mine = {run.id for run in made.values() if run.round_id == round_.id}
        found |= {one.id for one in own.values() if one.run_id in mine}
        found |= {number for run_id in mine for number in _named(made[run_id])}
    return found


def _of_evaluations(session: Session, project_id: int) -> set[int]:
    """Policies that are compared now, and the reward models that choose their answers."""
    still = (Evaluation.project_id == project_id, Evaluation.state.in_(OPEN_EVALUATION))
    candidates = select(EvaluationCandidate.contender_id).join(Evaluation).where(*still)
    baselines = select(Evaluation.baseline_id).where(*still)
    compared = select(Contender.checkpoint_id, Contender.reward_id).where(
        or_(Contender.id.in_(candidates), Contender.id.in_(baselines))
    )
    return {number for pair in session.execute(compared) for number in pair if number is not None}


def _newest_rewards(own: Iterable[Checkpoint]) -> set[int]:
    """The last on each base, and the last that passed its test."""
    found: dict[tuple[int | None, bool], int] = {}
    for one in own:
        if one.kind == "reward":
            for passed in (False, True):
                if not passed or one.metrics.get("gate_passed") is True:
                    found[one.parent_id, passed] = max(one.id, found.get((one.parent_id, passed), 0))
    return set(found.values())


def _runs_used_elsewhere(session: Session, project_id: int, data: Path) -> set[int]:
    """Runs whose folders other projects name as a model."""
    runs = (data / "runs").resolve()
    bases = session.scalars(select(Project.base_model).where(Project.id != project_id, Project.deleted_at.is_(None)))
    sources = session.scalars(select(Checkpoint.source).where(Checkpoint.project_id != project_id, Checkpoint.run_id.is_(None)))
    found = set()
    for source in {*bases, *sources}:
        place = (data / source).resolve()
        if place.is_relative_to(runs) and place != runs:
            number = place.relative_to(runs).parts[0]
            if number.isascii() and number.isdigit():
                found.add(int(number))
    return found


def _with_lineage(roots: set[int], own: dict[int, Checkpoint], made: dict[int, Run]) -> set[int]:
    kept: set[int] = set()
    open_ = list(roots)
    while open_:
        number = open_.pop()
        if number in kept or number not in own:
            continue
        kept.add(number)
        run = made.get(own[number].run_id or 0)
        open_ += [own[number].parent_id or 0, *(_named(run) if run is not None else ())]
    return kept


def _named(run: Run) -> list[int]:
    return [number for name in INPUTS if type(number := run.inputs.get(name)) is int]
