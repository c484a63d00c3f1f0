"""The leaderboard as pages and calls show it: each contender's place, name, and how far it went from the base."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.contenders.service import names
from app.evaluation.leaderboard.ranking import Standing, rank
from app.evaluation.leaderboard.tally import contenders_in, met_by
from app.models import Checkpoint, Contender, Project, Run
from trainer.contract.messages import Message


@dataclass(frozen=True, slots=True)
class Row:
    """`contender` is None of a base that has answered nothing yet."""

    contender: Contender | None
    name: Message
    standing: Standing
    base: bool
    promoted: bool
    kl_nats: float | None  # from the base, per answer; of a best of n at most; None where nobody measured it

    @property
    def root_kl(self) -> float | None:
        return None if self.kl_nats is None else math.sqrt(max(0.0, self.kl_nats))


@dataclass(frozen=True, slots=True)
class Board:
    rows: list[Row]
    verdicts: int
    uncounted: int  # ids of labels that are not in it yet

    @property
    def frontier(self) -> list[Row]:
        """Those whose place means something and whose distance is known, the nearest first."""
        return sorted((row for row in self.rows if row.standing.enough and row.kl_nats is not None), key=_distance)


def leaderboard(session: Session, project: Project, *, without_length: bool = False) -> Board:
    met, uncounted = met_by(session, project.id)
    base = _base(session, project)
    base_id = base.id if base else 0
    shown = contenders_in(met) | {base_id}
    found = {one.id: one for one in session.scalars(select(Contender).where(Contender.id.in_(shown)))}
    called = names(session, found)
    distance = _distances(session, list(found.values()))
    rows = [
        Row(
            contender=found.get(standing.contender),
            name=called.get(standing.contender, Message("base_model")),
            standing=standing,
            base=standing.contender == base_id,
            promoted=_promoted(found.get(standing.contender), project),
            kl_nats=0.0 if standing.contender == base_id else distance.get(standing.contender),
        )
        for standing in rank(met, shown, base_id, without_length=without_length)
    ]
    return Board(rows, round(sum(pair.verdicts for pair in met)), uncounted)


def _base(session: Session, project: Project) -> Contender | None:
    """The project's base model, answering once; None while it has not."""
    return session.scalar(
        select(Contender)
        .join(Checkpoint, Checkpoint.id == Contender.checkpoint_id)
        .where(Contender.project_id == project.id, Contender.kind == "policy")
        .where(Checkpoint.parent_id.is_(None), Checkpoint.run_id.is_(None), Checkpoint.source == project.base_model)
        .order_by(Contender.id)
        .limit(1)
    )


def _promoted(contender: Contender | None, project: Project) -> bool:
    return contender is not None and contender.kind == "policy" and contender.checkpoint_id == project.policy_id


def _distances(session: Session, contenders: list[Contender]) -> dict[int, float]:
    """KL from the base in nats per answer, where training was measured from the base; of a best of n, at most."""
    parent = aliased(Checkpoint)
    asked = (
        select(Checkpoint.id, Checkpoint.run_id, parent.id, parent.run_id, parent.parent_id, Run.config, Run.result)
        .outerjoin(Run, Run.id == Checkpoint.run_id)
        .outerjoin(parent, parent.id == Checkpoint.parent_id)
        .where(Checkpoint.id.in_({one.checkpoint_id for one in contenders if one.checkpoint_id is not None}))
    )
    policies: dict[int, float] = {}
    for policy, run, start, start_run, before_start, config, result in session.execute(asked):
        from_base = start is not None and start_run is None and before_start is None
        if run is None and start is None:
            policies[policy] = 0.0
        elif run is not None and (from_base or config.get("reference") == "base") and "kl_nats_per_answer" in result:
            policies[policy] = float(result["kl_nats_per_answer"])
    return {
        one.id: policies[one.checkpoint_id] + math.log(one.best_of) - (one.best_of - 1) / one.best_of
        for one in contenders
        if one.checkpoint_id in policies
    }


def _distance(row: Row) -> float:
    return row.kl_nats or 0.0
