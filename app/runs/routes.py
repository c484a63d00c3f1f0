"""Pages: runs with their charts, and checkpoints. Reviewers and admins only: annotators must not know who wrote what."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.accounts import service as accounts
from app.database.engine import Db
from app.errors import NotFound
from app.guidelines.starting_point import told
from app.language import formats
from app.language.languages import _, known
from app.models import Project, Round, Run
from app.models.criteria import names
from app.runs import checkpoints, estimates, run_files
from app.runs.bodies import PathId
from app.runs.figures import charts
from app.runs.figures.result import figures_of, notices_of
from app.runs.figures.reward_quality import quality_of
from app.runs.lineage.data_set import data_sets
from app.runs.run_order import names_seen, worker_standing
from app.runs.run_settings import reason_names
from app.runs.runs import LIVE, WRITES_ANSWERS, get_run, prompts_by_id, retries_of
from app.settings import Settings
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import render
from app.web.security import Caller
from trainer.contract.config import CONFIGS, label_of
from trainer.contract.setting import settings_of

router = APIRouter()

Before = Annotated[int | None, Query(ge=1, le=MAX_ID)]
PAGE = 25
SHOWN_ANSWERS = 6


# Runs


@router.get("/runs/{id}")
def show_run(
    request: Request, session: Db, caller: Caller, id: PathId, step: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None
) -> Response:
    run = get_run(session, id)
    project = session.get_one(Project, run.project_id)
    at = _folder(request, run)
    samples = run_files.samples(at)
    worker = worker_standing(session)
    return render(
        request,
        "runs/run.html",
        project=project,
        run=run,
        live=run.state in LIVE,
        settings=[
            (known(label_of(f"{run.kind}.{name}")), _setting_words(run.kind, name, value)) for name, value in run.config.items()
        ],
        again=retries_of(session, [run.id]).get(run.id),
        round=session.get_one(Round, run.round_id) if run.round_id else None,
        made=checkpoints.made_by(session, run.id),
        started_by=accounts.names_of(session, [run.created_by]).get(run.created_by or 0, ""),
        charts=_charts(request, run),
        main_charts=charts.MAIN,
        figures=figures_of(run.kind, run.result),
        notices=notices_of(run.result),
        panel=_panel(session, run, samples, step),
        answers=checkpoints.answers_shown(session, run.id, split="holdout", limit=SHOWN_ANSWERS)
        if run.kind in WRITES_ANSWERS
        else [],
        log=run_files.log_tail(at, 16 * 1024),
        worker=worker,
        waits=estimates.waits(session, [run]),
        names=names_seen(session, [worker.run], None if caller.is_owner else caller.user_id),
        place=f"/projects/{project.slug}/rounds",
    )


@router.get("/runs/{id}/charts/{name:path}")
def show_chart(
    request: Request, session: Db, id: PathId, name: Annotated[str, Path(max_length=120)], narrow: bool = False
) -> Response:
    """The SVG of one metric. Its address carries the last step, so it may be kept for a while."""
    run = get_run(session, id)
    rows = run_files.metric_rows(_folder(request, run))
    chart = charts.chart_of(rows, run.config, name.removesuffix(".svg"))
    if chart is None:
        raise NotFound(_("This run has written no such figure."))
    headers = {"Content-Security-Policy": charts.CONTENT_SECURITY_POLICY, "Cache-Control": "private, max-age=3600"}
    svg = charts.draw(chart, charts.NARROW if narrow else charts.WIDTH)
    return Response(svg, media_type="image/svg+xml", headers=headers)


def _setting_words(kind: str, name: str, value: Any) -> str:
    """A value as the settings page says it."""
    one = settings_of(CONFIGS[kind]).get(name)
    if one is not None and value in one.choices:
        return known(one.choices[value])
    return formats.percent(value) if one is not None and one.is_share else str(value)


def _folder(request: Request, run: Run) -> FilePath:
    settings: Settings = request.app.state.settings
    return run_files.run_folder(settings.runs, run.id)


def _charts(request: Request, run: Run) -> list[charts.Chart]:
    return charts.charts_of(run_files.metric_rows(_folder(request, run)), run.config)


def _panel(session: Session, run: Run, samples: list[dict[str, Any]], step: int | None) -> dict[str, Any] | None:
    """The fixed prompts of a policy in training: their answers at the first step and at the step asked for, else the last."""
    rows = [row for row in samples if isinstance(row.get("step"), int) and isinstance(row.get("text"), str)]
    if not rows:
        return None
    steps = sorted({row["step"] for row in rows})
    shown = step if step in steps else steps[-1]
    prompts = prompts_by_id(session, run.project_id, (row.get("prompt_id") for row in rows))
    before = {row["prompt_id"]: row for row in rows if row["step"] == steps[0]}
    now = [row for row in rows if row["step"] == shown]
    return {
        "steps": steps,
        "step": shown,
        "first": steps[0],
        "rows": [(prompts.get(row["prompt_id"]), before.get(row["prompt_id"]), row) for row in now],
    }


# Checkpoints


def _criterion_names(project: Project) -> dict[str, str]:
    criteria = names(told(project.criteria), told(project.retired["criteria"]))
    marks = reason_names([*project.retired["span_reasons"], *project.span_reasons])
    return criteria | names(project.rubric, project.retired["rubric"]) | marks


@router.get("/projects/{slug}/checkpoints")
def list_checkpoints(request: Request, session: Db, project_id: CurrentProjectId, before: Before = None) -> Response:
    found = checkpoints.list_checkpoints(session, project_id, before, PAGE + 1)
    shown = found[:PAGE]
    return render(
        request,
        "runs/checkpoints.html",
        project=session.get_one(Project, project_id),
        checkpoints=shown,
        parents=checkpoints.checkpoints_by_id(session, (checkpoint.parent_id for checkpoint in shown)),
        before=before,
        next_before=shown[-1].id if len(found) > PAGE else None,
    )


@router.get("/checkpoints/{id}")
def show_checkpoint(request: Request, session: Db, id: PathId, check: bool = False) -> Response:
    checkpoint = checkpoints.get_checkpoint(session, id)
    project = session.get_one(Project, checkpoint.project_id)
    settings: Settings = request.app.state.settings
    at = run_files.checkpoint_folder(settings.data.resolve(), checkpoint.source)
    has_manifest = at is not None and (at / "manifest.json").is_file()
    exported = run_files.export_folder(settings.runs, checkpoint.run_id) if checkpoint.run_id else None
    run = get_run(session, checkpoint.run_id) if checkpoint.run_id else None
    return render(
        request,
        "runs/checkpoint.html",
        project=project,
        checkpoint=checkpoint,
        doubt=checkpoints.doubt(session, checkpoint),
        refused=checkpoints.turned_down(session, checkpoint),
        quality=quality_of(checkpoint.metrics, _criterion_names(project)) if checkpoint.kind == "reward" else None,
        lineage=checkpoints.lineage(session, checkpoint),
        children=checkpoints.children_of(session, checkpoint),
        figures=figures_of(run.kind, checkpoint.metrics) if run and checkpoint.kind == "policy" else ([], []),
        run=run,
        promoted_by=accounts.names_of(session, [checkpoint.promoted_by]).get(checkpoint.promoted_by or 0, ""),
        manifest=run_files.manifest(at) if at is not None and has_manifest else None,
        files=_files(at) if at is not None and has_manifest else [],
        exported=_files(exported) if exported and (exported / "manifest.json").is_file() else [],
        data_sets=data_sets(session, checkpoint, settings.runs) if check else None,
        on_this_machine=at is not None,
        place=f"/projects/{project.slug}/checkpoints",
    )


def _files(at: FilePath) -> list[tuple[str, str, str]]:
    """(name, size, SHA-256) of the files a manifest names."""
    rows = []
    for name, digest in sorted(run_files.manifest(at)["files"].items()):
        path = at / name
        rows.append((name, formats.size(path.stat().st_size) if path.is_file() else _("missing"), str(digest)))
    return rows
