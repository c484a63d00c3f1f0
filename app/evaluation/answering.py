"""An evaluation that somebody asks for, outside of rounds: its contenders checked, and their answers queued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.contenders.service import contender_of
from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid
from app.evaluation import service
from app.evaluation.service import Candidate
from app.language.languages import _
from app.models import Contender, Evaluation, Project
from app.runs.checkpoints import current_policy
from app.runs.runs import queue_run


def start(
    session: Session, project: Project, candidate_ids: Sequence[int], baseline_id: int | None, by: int | None
) -> Evaluation:
    """Compare these contenders with the baseline, by default the policy in force. Nothing is promoted by it.

    Ours and models outside answer first; what was imported is there already. Raises Invalid, and Conflict while another
    evaluation goes on.
    """
    if not candidate_ids:
        raise Invalid(_("Choose at least one contender to compare."), {"candidates": _("This is needed.")})
    hold(session, project)
    if service.live_evaluations(session, project.id):
        raise Conflict(_("People judge in another evaluation of this project now; one at a time."))
    baseline = _own(session, project, baseline_id, "baseline") if baseline_id is not None else None
    baseline = baseline or contender_of(session, current_policy(session, project))
    candidates = [_own(session, project, one, "candidates") for one in candidate_ids]
    if len({one.id for one in candidates}) < len(candidates) or baseline in candidates:
        raise Invalid(_("Each contender stands in an evaluation once."), {"candidates": _("named twice")})
    evaluation = service.begin(session, project, baseline, [Candidate(one) for one in candidates], by=by)
    if evaluation is None:
        raise Conflict(_("There is no held-out prompt to compare answers to."))
    _have_answered(session, project, evaluation, baseline, evaluation.pairs * len(candidates), by)
    for one in candidates:
        _have_answered(session, project, evaluation, one, evaluation.pairs, by)
    record(session, by, "evaluation.started", f"evaluation {evaluation.id}", None, project.id)
    session.flush()
    return evaluation


def cancel(session: Session, evaluation: Evaluation, by: int | None) -> None:
    """Ask no more, and decide nothing; labels stay. Raises Conflict where it has ended, or is a round's, which ends it."""
    hold(session, session.get_one(Project, evaluation.project_id))
    session.refresh(evaluation)
    if evaluation.round_id is not None:
        raise Conflict(_("This is the evaluation of a round; decide on the round or cancel it."))
    if evaluation.state not in service.LIVE:
        raise Conflict(_("This evaluation has ended already."))
    service.cancel(session, evaluation)
    record(session, by, "evaluation.cancelled", f"evaluation {evaluation.id}", None, evaluation.project_id)
    session.flush()


def _own(session: Session, project: Project, contender_id: int, field: str) -> Contender:
    found = session.get(Contender, contender_id)
    if found is None or found.project_id != project.id or found.archived_at is not None:
        raise Invalid(_("%(number)s is no contender of this project.", number=contender_id), {field: _("no contender here")})
    return found


def _have_answered(
    session: Session, project: Project, evaluation: Evaluation, contender: Contender, each: int, by: int | None
) -> None:
    asked = {"split": "holdout", "prompt_ids": evaluation.prompt_ids}
    if contender.kind == "outside":
        queue_run(session, project, "ask", {"per_prompt": each}, asked | {"contender": contender.id}, by)
    if contender.checkpoint_id is None:
        return
    config: dict[str, Any] = {"per_prompt": min(64, each), "best_of": contender.best_of}
    inputs: dict[str, Any] = asked | {"checkpoint": contender.checkpoint_id}
    if contender.reward_id is not None:
        inputs["reward"] = contender.reward_id
    queue_run(session, project, "sample", config, inputs, by)
