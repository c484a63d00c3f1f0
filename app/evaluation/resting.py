"""Who rests: somebody who is ahead of all the others in an evaluation is asked about other things until they have caught up.

A person with a habit of their own moves an evaluation the more, the more of its verdicts are theirs (docs/decisions/0043). At
most half of its verdicts come from one person, and AHEAD_BY more, while there are others to ask.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.orm import Session

from app.models import Evaluation, EvaluationCandidate, EvaluationRest, EvaluationTask, Label, Membership, User

AHEAD_BY: Final = 5  # verdicts that somebody may have given more than all the others together
ACTIVE: Final = timedelta(days=1)  # who judged something in the project since then is there to be asked


def resting(session: Session, evaluation: Evaluation, now: datetime) -> set[int]:
    """Those who are asked nothing more for now. Where others have not moved it for a day, though they are there, nobody waits."""
    mine = (
        select(Label.annotator_id, func.count(), func.max(Label.created_at))
        .join(EvaluationTask, EvaluationTask.task_id == Label.task_id)
        .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
        .where(EvaluationCandidate.evaluation_id == evaluation.id, Label.current, ~Label.surplus)
        .group_by(Label.annotator_id)
    )
    given = {person: (count, last) for person, count, last in session.execute(mine)}
    total = sum(count for count, _last in given.values())
    found = set()
    for person, (count, _last) in given.items():
        moved = [last for other, (_count, last) in given.items() if other != person]
        since = max([evaluation.opened_at or now, *moved])
        if 2 * count - total >= AHEAD_BY and since >= now - ACTIVE and _somebody_else_is_there(session, evaluation, person, now):
            found.add(person)
    return found


def rests(session: Session, evaluation: Evaluation) -> set[int]:
    """Those of whom it is written down."""
    return set(session.scalars(select(EvaluationRest.annotator_id).where(EvaluationRest.evaluation_id == evaluation.id)))


def write_down(session: Session, evaluation: Evaluation, people: set[int]) -> None:
    """These rest, and nobody else. The project is held."""
    there = rests(session, evaluation)
    ended = EvaluationRest.annotator_id.in_(there - people)
    session.execute(delete(EvaluationRest).where(EvaluationRest.evaluation_id == evaluation.id, ended))
    session.add_all(
        EvaluationRest(evaluation_id=evaluation.id, project_id=evaluation.project_id, annotator_id=person)
        for person in sorted(people - there)
    )
    session.flush()


def _somebody_else_is_there(session: Session, evaluation: Evaluation, person: int, now: datetime) -> bool:
    project_id, since = evaluation.project_id, now - ACTIVE
    may = exists().where(Membership.user_id == User.id, Membership.project_id == project_id, Membership.paused_at.is_(None))
    judged = exists().where(Label.annotator_id == User.id, Label.created_at >= since, Label.project_id == project_id)
    others = select(User.id).where(User.id != person, User.disabled_at.is_(None), or_(may, User.is_owner), judged)
    return session.scalar(others.limit(1)) is not None
