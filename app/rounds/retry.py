"""Doing a failed run again: a run of its own with the same settings and inputs. A round that it stopped goes on from there."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict
from app.evaluation.service import evaluation_of
from app.language.languages import _
from app.models import Generation, Project, Round, Run
from app.rounds import service
from app.runs.runs import hold_run, prompts_to_answer, queue_run, retries_of, runs_of_round
from trainer.contract.config import CONFIGS


def retry_run(session: Session, run: Run, by: int | None) -> Run:
    """Queue the run again; the new one is returned. Other runs of the same stage that failed with it are queued again, too.

    A round that went on without it, to people's verdicts or to a decision, is left alone: the new run is then outside of it.
    Raises Conflict when it did not fail, is being done again already, or another round is open meanwhile.
    """
    hold_run(session, run.id)  # two people may press the button at once
    if run.state != "failed":
        raise Conflict(_("Only a run that failed can be queued again."))
    if (later := retries_of(session, [run.id]).get(run.id)) is not None:
        raise Conflict(_("Run %(number)s does this one again already.", number=later))
    if run.round_id is None:
        return _again(session, run, None, by)
    round_ = hold(session, service.get_round(session, run.round_id))
    if not _stopped_at(session, round_, _stage_of(run)):
        return _again(session, run, None, by)
    _reopen(session, round_, _stage_of(run))
    failed = [one for one in service.runs_in_force(session, round_) if one.state == "failed"]
    return {one.id: _again(session, one, round_, by) for one in failed}[run.id]


def retryable(session: Session, round_: Round) -> list[Run]:
    """The failed runs that a round could go on from."""
    runs = runs_of_round(session, round_.id)
    return [run for run in runs if can_retry(session, run) and _stopped_at(session, round_, _stage_of(run))]


def can_retry(session: Session, run: Run) -> bool:
    """Whether the button is worth showing: it failed, and nobody has queued it again."""
    return run.state == "failed" and not retries_of(session, [run.id])


def _stage_of(run: Run) -> str:
    return "ppo" if run.kind in service.METHODS else run.kind


def _stopped_at(session: Session, round_: Round, stage: str) -> bool:
    """Whether a round stands in this stage, or ended in it without a decision: only then can it go on from there."""
    if round_.state in service.OPEN:
        return round_.state == stage
    judged = evaluation_of(session, round_)
    if round_.decision is not None or (judged is not None and judged.opened_at is not None):
        return False
    return _stage_of(runs_of_round(session, round_.id)[-1]) == stage


def _reopen(session: Session, round_: Round, stage: str) -> None:
    """The round computes again, at this stage. Raises Conflict while another one is open."""
    other = service.open_round(session, round_.project_id)
    if other is not None and other.id != round_.id:
        raise Conflict(
            _(
                "Round %(open)s is open, and a project has one at a time. Once it has ended, this run can be queued again.",
                open=other.number,
            )
        )
    round_.state, round_.reason, round_.ended_at = stage, None, None
    session.flush()


def _again(session: Session, run: Run, round_: Round | None, by: int | None) -> Run:
    project = session.get_one(Project, run.project_id)
    again = queue_run(session, project, run.kind, _settings(session, run), _inputs(session, run), by, round_)
    again.retry_of_id = run.id
    record(session, by, "run.retried", f"run {run.id}", {"as": again.id}, run.project_id)
    session.flush()
    return again


def _inputs(session: Session, run: Run) -> dict[str, Any]:
    """The run's own. Whoever is paid for answers is asked for those that are missing."""
    if run.kind != "ask":
        return run.inputs
    written = select(Generation.prompt_id, func.count()).where(Generation.run_id == run.id).group_by(Generation.prompt_id)
    there = {prompt_id for prompt_id, answers in session.execute(written) if answers >= run.config["per_prompt"]}
    missing = [one.id for one in prompts_to_answer(session, run.project_id, run.inputs) if one.id not in there]
    return run.inputs | ({"prompt_ids": missing} if there and missing else {})


def _settings(session: Session, run: Run) -> dict[str, Any]:
    """The run's own, as far as this version still has them. Where answers are stored already, the same seed would repeat them."""
    known = {field.name for field in dataclasses.fields(CONFIGS[run.kind])}
    written = session.scalar(select(Generation.id).where(Generation.run_id == run.id).limit(1))
    return {
        name: value
        for name, value in run.config.items()
        if name in known and not (name == "seed" and run.kind == "sample" and written is not None)
    }
