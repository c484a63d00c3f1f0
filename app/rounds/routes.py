"""Pages: rounds, and what ends or settles one: cancelling a run, promoting a checkpoint. Annotators must not see them."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.contenders.service import contenders_alone
from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.evaluation.alarm import alarmed_rounds
from app.evaluation.service import evaluation_of
from app.evaluation.story import tell
from app.language.languages import _
from app.language.run_messages import told
from app.models import Project, Run
from app.prompts.lengths import lengths_of, read_in_part
from app.rounds import retry, round_story, service, triggers
from app.rounds.api import Usable
from app.rounds.unattended.budgets import budgets, holds_back
from app.runs import checkpoints, estimates, run_files
from app.runs.bodies import PathId
from app.runs.figures import charts
from app.runs.figures.result import figures_of, notices_of
from app.runs.figures.reward_quality import learned_from, quality_of
from app.runs.memory.needs import needs
from app.runs.run_order import names_seen, worker_standing
from app.runs.run_settings import expected_config
from app.runs.runs import answers_that_fit, retries_of, runs_outside_rounds
from app.runs.usable_labels import usable_label_count
from app.settings import Settings
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Note
from app.web.pages import redirect, render
from app.web.security import Caller
from trainer.contract.config import config_dict
from trainer.contract.ppo_config import FEWEST_WATCHED

router = APIRouter()

Before = Annotated[int | None, Query(ge=1, le=MAX_ID)]
PAGE = 25
SHOWN_RUNS = 10
CANDIDATE_FIGURES = ("heldout_gain", "preferred_accuracy", "score", "kl_nats_per_answer", "length_before", "length", "truncated")


# Rounds


@router.get("/projects/{slug}/rounds")
def list_rounds(request: Request, session: Db, project_id: CurrentProjectId, before: Before = None) -> Response:
    project = session.get_one(Project, project_id)
    found = service.list_rounds(session, project_id, before, PAGE + 1)
    runs = runs_outside_rounds(session, project_id, SHOWN_RUNS)
    open_round = service.open_round(session, project_id)
    return render(
        request,
        "rounds/list.html",
        project=project,
        rounds=found[:PAGE],
        alarmed=alarmed_rounds(session, [round_.id for round_ in found[:PAGE]]),
        rewards=checkpoints.checkpoints_by_id(session, (round_.reward_id for round_ in found[:PAGE])),
        runs=runs,
        again=retries_of(session, [run.id for run in runs]),
        open_round=open_round,
        waits_for_turn=service.waits_for_turn(session, open_round),
        usable=usable_label_count(session, project_id),
        needed=service.fewest_labels(project),
        before=before,
        next_before=found[PAGE - 1].id if len(found) > PAGE else None,
    )


@router.get("/projects/{slug}/rounds/new")
def new_round(
    request: Request, session: Db, project_id: CurrentProjectId, start: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None
) -> Response:
    return _new_round_page(request, session, project_id, start)


@router.post("/projects/{slug}/rounds")
def start_round(
    request: Request,
    usable: Usable,
    session: WriteDb,
    caller: Caller,
    project_id: CurrentProjectId,
    start: Annotated[int | None, Form(ge=1, le=MAX_ID)] = None,
    labels_too: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    project = session.get_one(Project, project_id)
    methods = service.METHODS if labels_too else ("ppo",)
    try:
        round_ = service.start_round(session, project, "admin", caller.user_id, start=start, usable=usable, methods=methods)
    except Refusal as refusal:
        return _new_round_page(request, session, project_id, start, refusal, labels_too != "")
    return redirect(request, f"/rounds/{round_.id}", _("Round %(number)s has started.", number=round_.number))


def _new_round_page(
    request: Request,
    session: Session,
    project_id: int,
    start: int | None,
    refusal: Refusal | None = None,
    labels_too: bool = False,
) -> Response:
    project = session.get_one(Project, project_id)
    configs = {stage: expected_config(project, stage, {}) for stage in ("reward", "ppo", "sample")}
    settings = {stage: config_dict(config) for stage, config in configs.items()}
    settings["sample"]["per_prompt"] = answers_that_fit(session, project, settings["sample"]["per_prompt"])
    return render(
        request,
        "rounds/new.html",
        status=refusal.status if refusal else 200,
        project=project,
        refusal=refusal,
        starts=checkpoints.starting_policies(session, project),
        start=start,
        labels_too=labels_too,
        usable=usable_label_count(session, project_id),
        needed=service.fewest_labels(project),
        following=triggers.next_trigger(session, project),
        expected=estimates.expected_times(session, project),
        open_round=service.open_round(session, project_id),
        lengths=lengths_of(session, project),
        read_in_part=read_in_part(session, project),
        fewest_watched=FEWEST_WATCHED,
        settings=settings,
        memory=needs(project.base_model, configs),
        worker=worker_standing(session),
    )


@router.get("/rounds/{id}")
def show_round(request: Request, session: Db, caller: Caller, id: PathId) -> Response:
    round_ = service.get_round(session, id)
    project = session.get_one(Project, round_.project_id)
    told = round_story.tell_round(session, round_)
    ppo = told.runs["ppo"][-1] if "ppo" in told.runs else None
    worker = worker_standing(session)
    return render(
        request,
        "rounds/round.html",
        project=project,
        round=round_,
        story=told,
        expected=estimates.expected_times(session, project),
        worker=worker,
        waits_for_turn=service.waits_for_turn(session, round_),
        waits=estimates.waits(session, [run for runs in told.runs.values() for run in runs]),
        names=names_seen(session, [worker.run], None if caller.is_owner else caller.user_id),
        quality=quality_of(told.reward.metrics) if told.reward else None,
        learned_from=learned_from(told.reward.metrics) if told.reward else "",
        ppo=ppo,
        contenders=contenders_alone(session, [round_.start_policy_id, *(one.checkpoint.id for one in told.candidates)]),
        judged=tell(session, evaluation) if (evaluation := evaluation_of(session, round_)) else None,
        held_back=holds_back(budgets(session, project), evaluation=True),
        failed=retry.retryable(session, round_),
        notices=notices_of(ppo.result) if ppo else [],
        fell=checkpoints.did_not_rise(session, told.of_ppo) if told.of_ppo else None,
        doubts={one.checkpoint.id: checkpoints.doubt(session, one.checkpoint) for one in told.candidates},
        refusals={one.checkpoint.id: checkpoints.turned_down(session, one.checkpoint) for one in told.candidates},
        candidate_figures={one.checkpoint.id: _main_figures(one.run) for one in told.candidates},
        ppo_charts=[chart for chart in _charts(request, ppo) if chart.name in charts.MAIN] if ppo else [],
        place=f"/projects/{project.slug}/rounds",
    )


@router.post("/rounds/{id}/cancel")
def cancel_round(request: Request, session: WriteDb, caller: Caller, id: PathId) -> Response:
    service.cancel_round(session, service.get_round(session, id), caller.user_id)
    return redirect(request, f"/rounds/{id}", _("The round is cancelled; what still computes stops within seconds."))


@router.post("/rounds/{id}/rejection")
def reject_candidate(
    request: Request, session: WriteDb, caller: Caller, id: PathId, reason: Annotated[Note, Form()] = ""
) -> Response:
    service.reject(session, service.get_round(session, id), caller.user_id, reason)
    return redirect(request, f"/rounds/{id}", _("The candidate is rejected. The policy stays as it was."))


@router.post("/runs/{id}/cancel")
def cancel_run(request: Request, session: WriteDb, caller: Caller, id: PathId) -> Response:
    service.cancel_run(session, service.get_run(session, id), caller.user_id)
    return redirect(request, f"/runs/{id}", _("The run is being cancelled; it stops within seconds."))


@router.post("/runs/{id}/retry")
def retry_run(request: Request, session: WriteDb, caller: Caller, id: PathId) -> Response:
    run = retry.retry_run(session, service.get_run(session, id), caller.user_id)
    return redirect(request, f"/runs/{run.id}", _("It is queued again, as run %(number)s.", number=run.id))


@router.post("/checkpoints/{id}/promotion")
def promote_checkpoint(
    request: Request,
    session: WriteDb,
    caller: Caller,
    id: PathId,
    confirm: Annotated[str, Form(max_length=10)] = "",
    reason: Annotated[Note, Form()] = "",
) -> Response:
    checkpoint = checkpoints.get_checkpoint(session, id)
    service.promote(session, checkpoint, caller.user_id, confirmed=confirm == "yes", reason=reason)
    return redirect(
        request,
        f"/checkpoints/{id}",
        _("%(name)s is the policy now. New tasks mix its answers with those of the one before.", name=told(checkpoint.name)),
    )


def _main_figures(run: Run) -> list[tuple[str, str]]:
    """What candidates are told apart by, each with its label."""
    return [(line.label, line.value) for line in figures_of(run.kind, run.result)[0] if line.name in CANDIDATE_FIGURES]


def _folder(request: Request, run: Run) -> FilePath:
    settings: Settings = request.app.state.settings
    return run_files.run_folder(settings.runs, run.id)


def _charts(request: Request, run: Run) -> list[charts.Chart]:
    return charts.charts_of(run_files.metric_rows(_folder(request, run)), run.config)
