"""Rounds over the API, and what ends or settles one: cancelling a run, promoting a checkpoint."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from app.database.engine import Db, WriteDb, get_engine, read_session
from app.models import Project
from app.rounds import retry, service, triggers
from app.rounds.bodies import ExpectedReply, MemoryReply, NewRound, NextRoundReply, Promotion, Rejection, RoundReply, round_reply
from app.runs import checkpoints, estimates
from app.runs.bodies import CheckpointReply, Cursor, Data, PathId, RunReply, checkpoint_reply, page_of, run_reply
from app.runs.memory.needs import needs
from app.runs.run_settings import expected_config
from app.runs.usable_labels import usable_label_count
from app.web.gate import CurrentProjectId
from app.web.json_types import Limit, Page, cursor_id
from app.web.security import Caller

router = APIRouter(tags=["rounds"])


# Rounds


def usable(request: Request, project_id: CurrentProjectId) -> int:
    """How many labels a round would learn from, counted before the transaction that starts it."""
    with read_session(get_engine(request)) as session:
        return usable_label_count(session, project_id)


Usable = Annotated[int, Depends(usable)]


@router.post("/projects/{slug}/rounds", status_code=202)
def start_round(
    usable: Usable, session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: NewRound | None = None
) -> RoundReply:
    """Train on all labels so far. Refused while another round is open and while there are too few labels."""
    project = session.get_one(Project, project_id)
    wanted = body or NewRound()
    config = {str(stage): values for stage, values in wanted.config.items()}
    round_ = service.start_round(session, project, "admin", caller.user_id, config, wanted.start, usable, wanted.methods)
    return round_reply(session, round_)


@router.get("/projects/{slug}/rounds")
def list_rounds(
    session: Db, project_id: CurrentProjectId, limit: Annotated[Limit, Query()] = 50, cursor: Cursor = None
) -> Page[RoundReply]:
    """The newest first."""
    found = service.list_rounds(session, project_id, cursor_id(cursor), limit + 1)
    return page_of([round_reply(session, round_) for round_ in found], limit)


@router.get("/projects/{slug}/next-round")
def next_round(session: Db, project_id: CurrentProjectId) -> NextRoundReply:
    """When the triggers start a round, and how long one would take now."""
    project = session.get_one(Project, project_id)
    following = triggers.next_trigger(session, project)
    expected = estimates.expected_times(session, project)
    configs = {stage: expected_config(project, stage, {}) for stage in service.STAGES}
    return NextRoundReply(
        triggers_on=following.on,
        new_labels=following.new_labels,
        labels_left=following.labels_left,
        due_at=following.due_at,
        waits_for=following.waits_for,
        expected={stage: ExpectedReply.model_validate(one) for stage, one in expected.items()},
        memory={stage: MemoryReply.model_validate(one) for stage, one in needs(project.base_model, configs).items()},
    )


@router.get("/rounds/{id}")
def show_round(session: Db, id: PathId) -> RoundReply:
    return round_reply(session, service.get_round(session, id))


@router.post("/rounds/{id}/cancel")
def cancel_round(session: WriteDb, caller: Caller, id: PathId) -> RoundReply:
    round_ = service.get_round(session, id)
    service.cancel_round(session, round_, caller.user_id)
    return round_reply(session, round_)


@router.post("/rounds/{id}/reject")
def reject_candidate(session: WriteDb, caller: Caller, id: PathId, body: Rejection | None = None) -> RoundReply:
    """The policy stays as it is."""
    round_ = service.get_round(session, id)
    service.reject(session, round_, caller.user_id, body.reason if body else "")
    return round_reply(session, round_)


@router.post("/runs/{id}/cancel")
def cancel_run(session: WriteDb, caller: Caller, id: PathId) -> RunReply:
    """Stops it within seconds, and the round it belongs to."""
    run = service.get_run(session, id)
    service.cancel_run(session, run, caller.user_id)
    return run_reply(session, run)


@router.post("/runs/{id}/retry", status_code=202)
def retry_run(session: WriteDb, caller: Caller, id: PathId) -> RunReply:
    """Queues a run that failed again, with the same settings and inputs; the reply is the new run.

    A round that failed with it goes on from there, unless another one is open.
    """
    return run_reply(session, retry.retry_run(session, service.get_run(session, id), caller.user_id))


@router.post("/checkpoints/{id}/promote")
def promote_checkpoint(
    session: WriteDb, caller: Caller, data: Data, id: PathId, body: Promotion | None = None
) -> CheckpointReply:
    """Make it the project's policy. Promoting the one before is how to go back.

    Where the score did not rise in its PPO run it is refused until `confirm` is true, and without a `reason` where people turned
    it down and have not preferred it since to what it lost to.
    """
    checkpoint = checkpoints.get_checkpoint(session, id)
    wanted = body or Promotion()
    service.promote(session, checkpoint, caller.user_id, confirmed=wanted.confirm, reason=wanted.reason)
    return checkpoint_reply(session, data, checkpoint)
