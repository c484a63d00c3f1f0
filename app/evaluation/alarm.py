"""The alarm: the reward model's score rose, and people do not prefer the answers."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Text, exists, func, select, type_coerce
from sqlalchemy.orm import Session, aliased

from app.database.audit import record
from app.models import Checkpoint, Contender, Evaluation, EvaluationCandidate, Generation, Project, Round
from app.runs.checkpoints import get_checkpoint, score_of
from app.webhooks.announcing import announce
from trainer.contract.messages import Message, as_json

Scores = tuple[float, float]  # before, after

_ALARMED: Final = type_coerce(EvaluationCandidate.alarm, Text) != ""


def raise_alarm(session: Session, evaluation: Evaluation, candidate: EvaluationCandidate, figures: Message) -> bool:
    """Note that people turned a candidate down whose score rose; False where it did not rise, or that is noted already."""
    contender = session.get_one(Contender, candidate.contender_id)
    if candidate.alarm is not None or contender.checkpoint_id is None:
        return False
    checkpoint = get_checkpoint(session, contender.checkpoint_id)
    if (scores := _risen(_scores_of_answers(session, evaluation, candidate))) is not None:
        alarm = Message("alarm_of_answers", before=scores[0], after=scores[1], figures=figures)
    elif (scores := _risen(score_of(session, checkpoint))) is not None:
        alarm = Message("alarm_of_training", before=scores[0], after=scores[1], figures=figures)
    else:
        return False
    candidate.alarm = alarm
    details: dict[str, Any] = {"evaluation": evaluation.id, "score_before": scores[0], "score": scores[1]}
    record(session, None, "evaluation.alarmed", f"checkpoint {checkpoint.id}", details, evaluation.project_id)
    _announce(session, evaluation, alarm, checkpoint)
    return True


def alarm_now(session: Session, project_id: int) -> tuple[Evaluation, Message] | None:
    """The newest alarm of a project, until people have decided on something later."""
    later = aliased(Evaluation)  # decided later, whichever was begun first
    row = session.execute(
        select(Evaluation, EvaluationCandidate.alarm)
        .join(EvaluationCandidate, EvaluationCandidate.evaluation_id == Evaluation.id)
        .where(Evaluation.project_id == project_id, _ALARMED)
        .where(~exists().where(later.project_id == project_id, later.ended_at > Evaluation.ended_at, later.state == "decided"))
        .order_by(Evaluation.ended_at.desc().nulls_first(), Evaluation.id.desc(), EvaluationCandidate.id)
        .limit(1)
    ).first()
    return (row[0], row[1]) if row is not None and row[1] is not None else None


def alarmed_rounds(session: Session, round_ids: list[int]) -> set[int]:
    """Those among them whose candidate raised an alarm."""
    found = session.scalars(
        select(Evaluation.round_id)
        .join(EvaluationCandidate, EvaluationCandidate.evaluation_id == Evaluation.id)
        .where(Evaluation.round_id.in_(round_ids), _ALARMED)
    )
    return {round_id for round_id in found if round_id is not None}


def _announce(session: Session, evaluation: Evaluation, alarm: Message, checkpoint: Checkpoint) -> None:
    project = session.get_one(Project, evaluation.project_id)
    round_ = session.get(Round, evaluation.round_id) if evaluation.round_id is not None else None
    message = Message("announce_alarm", alarm=alarm)
    if round_ is not None:
        message = Message("announce_alarm_of_round", number=round_.number, alarm=alarm)
    announce(session, project, "alarm", message, round_, {"checkpoint": checkpoint.id, "alarm": as_json(alarm)})


def _risen(scores: Scores | None) -> Scores | None:
    return scores if scores is not None and scores[1] > scores[0] else None


def _scores_of_answers(session: Session, evaluation: Evaluation, candidate: EvaluationCandidate) -> Scores | None:
    """What the round's reward model says on average of what the baseline and the candidate wrote to the evaluation's prompts."""
    round_ = session.get(Round, evaluation.round_id) if evaluation.round_id is not None else None
    if round_ is None or round_.reward_id is None:
        return None
    scored = (
        select(Generation.contender_id, func.avg(Generation.settings["score"].as_float()))
        .where(Generation.contender_id.in_((evaluation.baseline_id, candidate.contender_id)))
        .where(Generation.prompt_id.in_(evaluation.prompt_ids))
        .where(Generation.settings["scored_by"].as_integer() == round_.reward_id)
        .group_by(Generation.contender_id)
    )
    means = {contender_id: mean for contender_id, mean in session.execute(scored) if mean is not None}
    if len(means) < 2:
        return None
    return float(means[evaluation.baseline_id]), float(means[candidate.contender_id])
