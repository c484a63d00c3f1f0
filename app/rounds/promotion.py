"""Deciding over policies: promoting one, going back to an earlier one, turning a candidate down."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine, or_, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.engine import read_session, write_session
from app.database.taking_turns import hold
from app.errors import Conflict
from app.evaluation.service import cancel, evaluation_of
from app.language.formats import number, percent
from app.language.languages import _
from app.models import Checkpoint, EvaluationCandidate, Project, Round, Run, utc_now
from app.queue import asking
from app.rounds import announced
from app.runs import refill
from app.runs.checkpoints import (
    Fell,
    current_policy,
    did_not_rise,
    doubt,
    not_shown,
    policies_of_round,
    require_weights,
    root_of,
    turned_down,
)
from trainer.contract.messages import Message

WAITING: Final = ("evaluation", "decision")  # for people, and for an admin; an admin need not wait for people


def promote(
    session: Session,
    checkpoint: Checkpoint,
    by: int | None,
    *,
    confirmed: bool = False,
    reason: str = "",
    said: Message | None = None,
) -> None:
    """Make a policy the project's own. New tasks mix its answers with those of the policy it replaces, and come before
    the tasks that wait already: they are due, and the worker makes them.

    Promoting an older policy is how one goes back. Raises Conflict for a reward model, for the policy already in place, for one
    that grew out of another base, until it is `confirmed` for one whose answers scored no higher after its PPO run, and without a
    `reason` for one that people turned down (`turned_down` says when that stands). `said`: what people said, where that decided.
    """
    project = hold(session, session.get_one(Project, checkpoint.project_id))
    if checkpoint.kind != "policy":
        raise Conflict(_("Only a policy can be promoted; this checkpoint is a reward model."))
    require_weights(checkpoint)
    if project.policy_id == checkpoint.id:
        raise Conflict(_("This policy is the promoted one already."))
    current = current_policy(session, project)
    if root_of(session, checkpoint).id != root_of(session, current).id:
        raise Conflict(
            _("Only a policy that grew out of the project's base model can be promoted: labels and rewards are of that one.")
        )
    fell = doubt(session, checkpoint)
    if fell is not None and not confirmed:
        raise Conflict(_not_risen(fell))
    refused = turned_down(session, checkpoint)
    if refused is not None and not reason:
        raise Conflict(_needs_a_reason(refused))
    replaced = project.policy_id
    project.previous_policy_id, project.policy_id = replaced, checkpoint.id
    checkpoint.promoted_at, checkpoint.promoted_by, checkpoint.promotion_reason = utc_now(), by, reason
    made_in = select(Run.round_id).where(Run.id == checkpoint.run_id)
    waiting = session.scalars(
        select(Round)
        .where(Round.project_id == project.id)
        .where(or_(Round.candidate_id == checkpoint.id, Round.id.in_(made_in)))
        .where(Round.state.in_(WAITING))
    ).all()
    why = Message("written", text=reason) if reason else said
    for round_ in waiting:
        round_.candidate_id = checkpoint.id  # of several
        _decide(session, round_, "promoted", by, why)
    if not waiting:
        announced.promoted(session, project, checkpoint, why)
    details = _details(replaced, did_not_rise(session, checkpoint)) | {"reason": reason, "against": _against(refused)}
    record(session, by, "policy.promoted", f"checkpoint {checkpoint.id}", details, project.id)
    session.flush()
    asking.note_due_first(session, project)


def ask_first(engine: Engine, project_id: int) -> None:
    """What comes before the questions of a promotion: what nobody has met is taken apart, so that its answers meet the new ones.

    Where people have seen all that the policy before wrote, it writes more. Twice is once.
    """
    asking.take_apart(engine, project_id)
    with read_session(engine) as session:
        project = session.get_one(Project, project_id)
        prompt_ids = refill.prompts_beside(session, project)
    if prompt_ids:
        with write_session(engine) as session:
            refill.queue_beside(session, session.get_one(Project, project_id), prompt_ids)


def _not_risen(fell: Fell) -> str:
    before, after = number(fell.before), number(fell.after)
    if fell.held_out:
        return _(
            "On held-out prompts the answers of this policy score no higher than those that the policy before its training gave "
            "to the same prompts: a gain of %(after)s. Confirm that you want to promote it all the same.",
            after=after,
        )
    if fell.judged:
        return _(
            "The judge, a more cautious estimate than what training sought, scores this policy's answers no higher than before "
            "its training: %(before)s before, %(after)s after. Confirm that you want to promote it all the same.",
            before=before,
            after=after,
        )
    return _(
        "The reward model's score did not rise while this policy was trained: %(before)s before, %(after)s after. "
        "Confirm that you want to promote it all the same.",
        before=before,
        after=after,
    )


def _needs_a_reason(refused: EvaluationCandidate) -> str:
    said = percent(refused.standing["mean"]) if refused.standing else ""
    if refused.alarm is not None:
        return _(
            "The alarm stands: this policy's score rose, and people do not prefer its answers; compared blind, it wins "
            "%(share)s. It is promoted only with a reason: write why.",
            share=said,
        )
    if not_shown(refused):
        return _(
            "The budget was spent and people did not show that they prefer this policy: compared blind, it wins %(share)s. It is "
            "promoted only with a reason: write why.",
            share=said,
        )
    return _(
        "People turned this policy down: compared blind, it wins %(share)s. It is promoted only with a reason: write why.",
        share=said,
    )


def _against(refused: EvaluationCandidate | None) -> str:
    """What a promotion went against, as the audit trail notes it."""
    return "" if refused is None else "alarm" if refused.alarm is not None else "people"


def _details(replaced: int | None, fell: Fell | None) -> dict[str, Any]:
    if fell is None:
        return {"replaced": replaced}
    if fell.held_out:
        return {"replaced": replaced, "heldout_gain": fell.after}
    name = "judged" if fell.judged else "score"
    return {"replaced": replaced, f"{name}_before": fell.before, name: fell.after}


def settle_promoted(session: Session, round_: Round) -> None:
    """Close a round that comes to its decision when a candidate was promoted before: nothing is left to decide."""
    project = session.get_one(Project, round_.project_id)
    for candidate in policies_of_round(session, round_.id) if round_.state in WAITING else ():
        if project.policy_id == candidate.id:
            round_.candidate_id = candidate.id
            why = Message("written", text=candidate.promotion_reason) if candidate.promotion_reason else None
            _decide(session, round_, "promoted", candidate.promoted_by, why)


def reject(session: Session, round_: Round, by: int | None, reason: str = "", said: Message | None = None) -> None:
    """Turn a round's candidates down: the policy stays as it is. Raises Conflict when nothing waits for a decision.

    `said`: what people said, where that decided.
    """
    hold(session, session.get_one(Project, round_.project_id))
    hold(session, round_)
    if round_.state not in WAITING:
        raise Conflict(_("This round does not wait for a decision."))
    _decide(session, round_, "rejected", by, Message("written", text=reason) if reason else said)
    candidates = [candidate.id for candidate in policies_of_round(session, round_.id)]
    details: dict[str, Any] = {"candidate": round_.candidate_id, "reason": reason}
    if len(candidates) > 1:
        details["candidates"] = candidates
    record(session, by, "policy.rejected", f"round {round_.number}", details, round_.project_id)
    session.flush()


def _decide(session: Session, round_: Round, decision: str, by: int | None, reason: Message | None) -> None:
    if (evaluation := evaluation_of(session, round_)) is not None:
        cancel(session, evaluation)  # unless people have decided
    now = utc_now()
    round_.state, round_.decision, round_.decided_by, round_.decided_at, round_.ended_at = "done", decision, by, now, now
    round_.reason = reason
    announced.decided(session, round_)
