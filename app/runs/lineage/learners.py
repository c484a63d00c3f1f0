"""What learned from a label, or from a person's: runs, and the checkpoints that came of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import and_, exists, select
from sqlalchemy.orm import Session

from app.models import Checkpoint, Label, Round, Run
from app.runs.lineage.label_index import labels_of
from app.runs.run_files import run_folder

MOST: Final = 50  # of the latest runs that learned from labels


@dataclass(frozen=True, slots=True)
class Learner:
    """A run that learned from one of the versions of a verdict."""

    run: Run
    version: int
    round: Round | None
    checkpoints: list[Checkpoint]  # what it left; of a round's reward run also the policies that were trained against it


@dataclass(frozen=True, slots=True)
class RoundLearned:
    """A round that learned from a person's labels."""

    round: Round
    theirs: int
    labels: int  # it learned from in all


def learners_of(session: Session, versions: Sequence[Label], runs: Path, most: int = MOST) -> list[Learner]:
    """Of a verdict with these versions, the newest first; only the latest `most` runs of the project are looked through."""
    by_id = {label.id: label for label in versions}
    project_id = next(iter(by_id.values())).project_id
    learned = (
        select(Run, Round)
        .outerjoin(Round, Round.id == Run.round_id)
        .where(Run.project_id == project_id, Run.label_digest.is_not(None))
        .order_by(Run.id.desc())
        .limit(most)
    )
    found = []
    for run, round_ in session.execute(learned):
        index = labels_of(run_folder(runs, run.id))
        version = next((label.version for label in by_id.values() if label.id in index), None)
        if version is not None:
            found.append((run, version, round_))
    made = _made_by(session, [run for run, _version, _round in found])
    return [Learner(run, version, round_, made[run.id]) for run, version, round_ in found]


def rounds_that_learned(
    session: Session, project_id: int, user_id: int, runs: Path, most: int | None = None
) -> list[RoundLearned]:
    """Whose frozen labels hold some of this person's, the newest first; of the latest `most` rounds that froze any."""
    froze = (Run.round_id == Round.id, Run.label_digest.is_not(None))
    latest = (
        select(Round.id).where(Round.project_id == project_id, exists().where(*froze)).order_by(Round.number.desc()).limit(most)
    )
    rows = session.execute(
        select(Round, Run.id).join(Run, and_(*froze)).where(Round.id.in_(latest)).order_by(Round.number.desc(), Run.id)
    ).all()
    frozen = {run_id: labels_of(run_folder(runs, run_id)) for _round, run_id in rows}
    if not any(map(len, frozen.values())):
        return []
    ids = set(session.scalars(select(Label.id).where(Label.project_id + 0 == project_id, Label.annotator_id == user_id)))
    found: dict[int, RoundLearned] = {}
    for round_, run_id in rows:
        theirs = frozen[run_id].count(ids)
        if theirs and (round_.id not in found or theirs > found[round_.id].theirs):
            found[round_.id] = RoundLearned(round_, theirs, len(frozen[run_id]))
    return list(found.values())


def _made_by(session: Session, learned: Sequence[Run]) -> dict[int, list[Checkpoint]]:
    """The checkpoints that came of each run, the oldest first."""
    made: dict[int, list[Checkpoint]] = defaultdict(list)
    left = {run.id: run.id for run in learned}
    rewards = [run.round_id for run in learned if run.kind == "reward" and run.round_id is not None]
    against = select(Run.id, Run.inputs).where(Run.round_id.in_(rewards), Run.kind == "ppo")
    by_reward = {
        checkpoint_id: run_id
        for run_id, checkpoint_id in session.execute(select(Checkpoint.run_id, Checkpoint.id).where(Checkpoint.run_id.in_(left)))
    }
    for run_id, inputs in session.execute(against):
        if (reward_run := by_reward.get(inputs.get("reward"))) is not None:
            left.setdefault(run_id, reward_run)
    for checkpoint in session.scalars(select(Checkpoint).where(Checkpoint.run_id.in_(left)).order_by(Checkpoint.id)):
        assert checkpoint.run_id is not None
        made[left[checkpoint.run_id]].append(checkpoint)
    return made
