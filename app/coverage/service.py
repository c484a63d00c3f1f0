"""The figures of each cluster of the newest map: prompts in use, labels, how often people differ, and who wins.

A label is one in force that trains. People differ on a task where two or more judged it and said different things, a reviewer's
word aside. Wins are counted as the leaderboard counts them: blind, of answers that were drawn, on prompts that no training saw; a
tie is half of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import case, func, not_, select
from sqlalchemy.orm import Session, aliased

from app.contenders.service import contenders_alone, names
from app.evaluation.leaderboard.tally import DRAWN
from app.labels.disputed import REVIEW
from app.models import Generation, Label, Project, Prompt, Round, Task
from app.prompts.clusters.service import key_of, newest_map
from app.quality.measures.figure import ENOUGH, Figure, share
from app.runs.checkpoints import get_checkpoint, root_of
from trainer.contract.coverage.clusters import Cluster
from trainer.contract.messages import Message

EXAMPLES: Final = 3  # of a cluster's prompts, the nearest to its middle


@dataclass(frozen=True, slots=True)
class Covered:
    """One cluster. `share`: of the prompts in use that are on the map; `languages`: with how many prompts, most first."""

    key: str
    number: int
    words: tuple[str, ...]
    prompts: int
    share: float
    languages: Mapping[str, int]  # "" for prompts without one
    labels: int
    differ: Figure
    wins: Figure
    examples: tuple[Prompt, ...]

    @property
    def example_ids(self) -> list[int]:
        return [prompt.id for prompt in self.examples]

    @property
    def few_labels(self) -> bool:
        return self.labels < ENOUGH


@dataclass(frozen=True, slots=True)
class PromptsCovered:
    """`clusters` is empty while nobody has drawn a map. `compared`: who is held against the base; None while nothing can be."""

    run_id: int | None
    drawn_at: datetime | None
    prompts: int  # in use
    on_map: int
    compared: Message | None
    clusters: tuple[Covered, ...]

    @property
    def not_yet(self) -> int:
        """In use, and on no map: they came later, or nobody has read an answer to them."""
        return self.prompts - self.on_map


class _Placed(NamedTuple):
    """The prompts in use of one cluster, the nearest to its middle first, and their languages."""

    ids: list[int]
    languages: Counter[str]


class _Said(NamedTuple):
    """What people said, by prompt."""

    labels: Mapping[int, int]
    asked: Mapping[int, int]  # tasks that two or more judged
    differ: Mapping[int, int]
    met: Mapping[int, int]  # 1 where the compared policy was judged beside the base
    won: Mapping[int, float]


def coverage_of(session: Session, project: Project, runs: Path) -> PromptsCovered:
    """`runs`: where run folders are."""
    in_use = select(func.count()).select_from(Prompt).where(Prompt.project_id == project.id, Prompt.archived_at.is_(None))
    prompts = session.scalar(in_use) or 0
    drawn = newest_map(session, project.id, runs)
    if drawn is None:
        return PromptsCovered(None, None, prompts, 0, None, ())
    placed = [_placed(session, project.id, cluster) for cluster in drawn.coverage.clusters]
    on_map = sum(len(one.ids) for one in placed)
    policy, base = _compared(session, project)
    said = _what_was_said(session, project.id, policy, base)
    clusters = tuple(
        _covered(session, key_of(drawn.run_id, number), number, cluster, one, on_map, said)
        for number, (cluster, one) in enumerate(zip(drawn.coverage.clusters, placed, strict=True), start=1)
    )
    compared = names(session, [policy]).get(policy) if policy is not None else None
    return PromptsCovered(drawn.run_id, drawn.drawn_at, prompts, on_map, compared, clusters)


def _placed(session: Session, project_id: int, cluster: Cluster) -> _Placed:
    """A run is given 5,000 prompts at most, which one statement takes."""
    mine = select(Prompt.id, func.coalesce(Prompt.language, "")).where(
        Prompt.project_id == project_id, Prompt.archived_at.is_(None), Prompt.id.in_(cluster.prompt_ids)
    )
    found: dict[int, str] = dict(session.execute(mine).all())
    return _Placed([prompt_id for prompt_id in cluster.prompt_ids if prompt_id in found], Counter(found.values()))


def _covered(session: Session, key: str, number: int, cluster: Cluster, placed: _Placed, on_map: int, said: _Said) -> Covered:
    nearest = placed.ids[:EXAMPLES]
    examples = {one.id: one for one in session.scalars(select(Prompt).where(Prompt.id.in_(nearest)))}
    return Covered(
        key=key,
        number=number,
        words=cluster.words,
        prompts=len(placed.ids),
        share=len(placed.ids) / on_map if on_map else 0.0,
        languages=dict(sorted(placed.languages.items(), key=lambda one: (-one[1], one[0]))),
        labels=_sum(said.labels, placed.ids),
        differ=share(_sum(said.differ, placed.ids), _sum(said.asked, placed.ids)),
        wins=share(_sum(said.won, placed.ids), _sum(said.met, placed.ids)),
        examples=tuple(examples[prompt_id] for prompt_id in nearest),
    )


def _sum(counts: Mapping[int, Any], ids: Sequence[int]) -> Any:
    return sum(counts.get(prompt_id, 0) for prompt_id in ids)


def _compared(session: Session, project: Project) -> tuple[int | None, int | None]:
    """The contenders that are held against each other: the policy in force, or where that is the base still, the newest
    candidate; and the base.
    """
    if project.policy_id is None:
        return None, None
    base = root_of(session, get_checkpoint(session, project.policy_id)).id
    policy: int | None = project.policy_id
    if policy == base:
        newest = select(Round.candidate_id).where(Round.project_id == project.id, Round.candidate_id.is_not(None))
        policy = session.scalar(newest.order_by(Round.number.desc()).limit(1))
    found = contenders_alone(session, [one for one in (policy, base) if one is not None])
    return (found.get(policy) if policy is not None else None), found.get(base)


def _what_was_said(session: Session, project_id: int, policy: int | None, base: int | None) -> _Said:
    mine = (Label.project_id == project_id, Label.current)
    by_prompt = select(Task.prompt_id, func.count()).join(Label, Label.task_id == Task.id).where(*mine, Label.trains)
    labels: dict[int, int] = dict(session.execute(by_prompt.group_by(Task.prompt_id)).all())
    several = (
        select(Task.id, Task.prompt_id, case((Task.disputed, 1), else_=0).label("differs"))
        .join(Label, Label.task_id == Task.id)
        .where(*mine, Label.served_reason != REVIEW)
        .group_by(Task.id, Task.prompt_id, Task.disputed)
        .having(func.count() > 1)
        .subquery()
    )
    tasks = select(several.c.prompt_id, func.count(), func.sum(several.c.differs)).group_by(several.c.prompt_id)
    asked, differ = dict[int, int](), dict[int, int]()
    for prompt_id, judged, differs in session.execute(tasks):
        asked[prompt_id], differ[prompt_id] = judged, int(differs)
    met, won = _wins(session, project_id, policy, base) if policy is not None and base is not None else ({}, {})
    return _Said(labels, asked, differ, met, won)


def _wins(session: Session, project_id: int, policy: int, base: int) -> tuple[dict[int, int], dict[int, float]]:
    """For each prompt with a verdict 1, and the mean of its verdicts: those on one prompt are alike, so that it counts once."""
    left, right = aliased(Generation), aliased(Generation)
    verdicts = (
        select(Task.prompt_id, left.contender_id, Label.choice, func.count())
        .join(Task, Task.id == Label.task_id)
        .join(left, left.id == Label.left_generation_id)
        .join(right, right.id == Label.right_generation_id)
        .where(Label.project_id == project_id, Label.current, Label.kind == "comparison")
        .where(not_(Label.trains), not_(Label.surplus), Label.served_reason.in_(DRAWN))
        .where(left.contender_id.in_((policy, base)), right.contender_id.in_((policy, base)))
        .where(left.contender_id != right.contender_id)
        .group_by(Task.prompt_id, left.contender_id, Label.choice)
    )
    met, won = Counter[int](), dict[int, float]()
    for prompt_id, at_left, choice, count in session.execute(verdicts):
        side = "left" if at_left == policy else "right"
        worth = 1.0 if choice == side else 0.0 if choice in ("left", "right") else 0.5
        met[prompt_id] += count
        won[prompt_id] = won.get(prompt_id, 0.0) + worth * count
    return dict.fromkeys(met, 1), {prompt_id: total / met[prompt_id] for prompt_id, total in won.items()}
