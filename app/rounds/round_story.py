"""A round as its page tells it: what it learned from, what came out, the same prompts before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from app.accounts import service
from app.models import Checkpoint, Generation, Prompt, Round, Run, drawn_alone
from app.runs.checkpoints import policies_of_round
from app.runs.runs import runs_of_round
from trainer.contract.messages import Message

SHOWN_PAIRS = 5


@dataclass(frozen=True)
class Beside:
    """One prompt, answered by the policy the round began with and by a candidate."""

    prompt: Prompt
    before: Generation
    after: Generation


@dataclass(frozen=True)
class Compared:
    """One prompt, answered by the policy the round began with and by each of its candidates, by name."""

    prompt: Prompt
    before: Generation
    after: list[tuple[Message, Generation]]


@dataclass(frozen=True)
class Candidate:
    """What one method of training left, and the same prompts before and after it."""

    checkpoint: Checkpoint
    run: Run
    beside: list[Beside]


@dataclass(frozen=True)
class PromotedLater:
    """A candidate that somebody promoted after its round had turned it down."""

    checkpoint: Checkpoint
    by: str


@dataclass(frozen=True)
class Story:
    """`runs` by stage: reward, ppo, preference, sample; a stage that has not begun has none."""

    round: Round
    new_labels: int  # since the round before
    start_policy: Checkpoint
    reward: Checkpoint | None
    candidate: Checkpoint | None  # the promoted one, once there is one
    candidates: list[Candidate]
    runs: dict[str, list[Run]]
    started_by: str  # a name; empty when a trigger did
    decided_by: str
    promoted_later: list[PromotedLater]

    @property
    def beside(self) -> list[Compared]:
        """The same prompts, answered by all."""
        found: dict[int, Compared] = {}
        for one in self.candidates:
            for pair in one.beside:
                shown = found.setdefault(pair.prompt.id, Compared(pair.prompt, pair.before, []))
                shown.after.append((one.checkpoint.name, pair.after))
        return list(found.values())

    @property
    def of_ppo(self) -> Checkpoint | None:
        return next((one.checkpoint for one in self.candidates if one.run.kind == "ppo"), None)


def tell_round(session: Session, round_: Round) -> Story:
    """Everything a round's page shows, but for the files of its runs."""
    before = session.scalar(
        select(Round.label_count)
        .where(Round.project_id == round_.project_id)
        .where(Round.number < round_.number)
        .order_by(Round.number.desc())
        .limit(1)
    )
    runs: dict[str, list[Run]] = {}
    for run in runs_of_round(session, round_.id):
        runs.setdefault(run.kind, []).append(run)
    made = policies_of_round(session, round_.id)
    turned_down = round_.decided_at if round_.decision == "rejected" else None
    later = [one for one in made if turned_down and one.promoted_at and one.promoted_at > turned_down]
    names = service.names_of(session, [round_.created_by, round_.decided_by, *(one.promoted_by for one in later)])
    return Story(
        round=round_,
        new_labels=max(0, round_.label_count - (before or 0)),
        start_policy=session.get_one(Checkpoint, round_.start_policy_id),
        reward=session.get(Checkpoint, round_.reward_id) if round_.reward_id else None,
        candidate=session.get(Checkpoint, round_.candidate_id) if round_.candidate_id else None,
        candidates=[
            Candidate(
                one,
                session.get_one(Run, one.run_id),
                answers_beside(session, round_.start_policy_id, one.id) if round_.candidate_id else [],
            )
            for one in made
        ],
        runs=runs,
        started_by=names.get(round_.created_by or 0, ""),
        decided_by=names.get(round_.decided_by or 0, ""),
        promoted_later=[PromotedLater(one, names.get(one.promoted_by or 0, "")) for one in later],
    )


def answers_beside(session: Session, before_id: int, after_id: int, limit: int = SHOWN_PAIRS) -> list[Beside]:
    """Held-out prompts that both policies have answered, with the first answer of each.

    Held-out, so that nobody reads here which model wrote what they will be asked about; as they were drawn, none chosen among
    several.
    """
    before, after = aliased(Generation), aliased(Generation)
    rows = session.execute(
        select(Prompt, before, after)
        .select_from(Prompt)
        .join(before, before.id == _first_answer(before_id))
        .join(after, after.id == _first_answer(after_id))
        .where(Prompt.split == "holdout")
        .order_by(Prompt.id)
        .limit(limit)
    )
    return [Beside(prompt, first, second) for prompt, first, second in rows]


def _first_answer(checkpoint_id: int) -> Any:
    written = aliased(Generation)
    return (
        select(func.min(written.id))
        .where(written.prompt_id == Prompt.id, written.checkpoint_id == checkpoint_id, drawn_alone(written))
        .correlate(Prompt)
        .scalar_subquery()
    )
