"""How long things take: a round, a waiting run until it begins, the next tasks until they are there.

From a project's own runs, or from a stated guess while there are none. Pages, calls and annotators all read these.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Project, Prompt, Round, Run, Worker, utc_now
from app.queue import make_tasks
from app.runs import refill
from app.runs.run_order import SILENT, turns
from app.runs.run_settings import expected_config
from app.runs.runs import LIVE, WRITES_ANSWERS
from app.runs.usable_labels import usable_label_count
from trainer.contract.config import CONFIGS, config_dict

REMEMBERED = 5  # past runs of a kind that the expectation rests on
# Seconds to load a model, and seconds per unit of work, of a model of 135M parameters on two processor cores in float32. PPO's is
# bench/loop.py's; a label's lies between one about answers written here, which need no reading, and an imported one.
START_S = {"reward": 20.0, "ppo": 20.0, "sample": 10.0, "ask": 5.0, "preference": 30.0, "sft": 20.0}
PER_UNIT_S = {
    "reward": 0.15,
    "ppo": 0.0035,
    "sample": 0.004,
    "ask": 0.004,  # four requests at once, of a service that writes 64 tokens a second
    "preference": 0.15,
    "sft": 600.0,
}  # a text's length is not known here: ten minutes
STAGES = ("reward", "ppo", "sample")
SOON_S = 5.0  # what should be there by now
NOT_YET: Final = 2**62  # the id of a run that is only thought of: it comes after all that are


@dataclass(frozen=True)
class Expected:
    """Seconds a stage will take; `measured` tells past runs from a guess."""

    seconds: float
    measured: bool


@dataclass(frozen=True)
class Wait:
    """What a waiting run waits for."""

    running: Run | None  # what the worker does now
    between: int  # further runs that come before it
    seconds: float | None  # until it begins; none while there is no worker


@dataclass(frozen=True)
class NextTasks:
    """When there will be new tasks.

    `state`: `writing` the answers, `queued` to write them, `learning` first, `stopped` after failures, `no_worker` that would
    do it, or `none` to come.
    """

    state: Literal["writing", "queued", "learning", "stopped", "no_worker", "none"]
    seconds: float | None = None  # until the first of them
    run: Run | None = None  # that writes them, or that is learned from first


# How long a round takes


def expected_times(session: Session, project: Project, config: Mapping[str, Any] | None = None) -> dict[str, Expected]:
    """Seconds per stage of a round started now, keys reward, ppo (all that trains) and sample (of all candidates)."""
    given = dict(config or {})
    prompts = session.scalar(
        select(func.count(Prompt.id)).where(Prompt.project_id == project.id).where(Prompt.archived_at.is_(None))
    )
    labels = usable_label_count(session, project.id)
    methods = given.get("methods") or ("ppo",)
    expected = {}
    for stage in STAGES:
        parts = []
        for kind in methods if stage == "ppo" else (stage,):
            own = {"best_of": 1} if stage == "sample" else {}  # as `start_round` has it
            settings = config_dict(expected_config(project, kind, own | dict(given.get(kind) or {})))
            units = _units(kind, settings, prompts or 0, labels)
            past = _past_rates(session, project.id, kind)
            guess = START_S[kind] + PER_UNIT_S[kind] * units
            parts.append(Expected(statistics.median(past) * units if past else guess, bool(past)))
        times = len(methods) if stage == "sample" else 1
        expected[stage] = Expected(times * sum(part.seconds for part in parts), all(part.measured for part in parts))
    return expected


def _units(kind: str, settings: Mapping[str, Any], prompts: int, labels: int) -> float:
    """Work of a run, in labels or in tokens."""
    if kind == "reward":
        return max(1, labels)
    if kind == "preference":
        passes = 1 + settings["epochs"] * (1.5 if settings.get("ptx_weight") else 1)  # a demonstration to two answers
        return float(max(1, labels) * passes)
    if kind == "ppo":
        passes = 1 + settings["epochs"] * (2 if settings.get("ptx_weight") else 1)  # as many demonstrations as answers
        return float(settings["updates"] * settings["episodes"] * settings["max_new_tokens"] * passes)
    return float(max(1, prompts) * settings["per_prompt"] * settings.get("best_of", 1) * settings["max_new_tokens"])


def _past_rates(session: Session, project_id: int, kind: str) -> list[float]:
    """Seconds per unit of the last runs of this kind that ended at the first attempt."""
    runs = session.scalars(
        select(Run)
        .where(Run.project_id == project_id)
        .where(Run.kind == kind)
        .where(Run.state == "done")
        .where(Run.attempts == 1)
        .order_by(Run.id.desc())
        .limit(REMEMBERED)
    )
    rates = []
    for run in runs:
        if run.started_at is None or run.ended_at is None:
            continue
        per_prompt = run.config.get("per_prompt") or 1
        prompts = int(run.result.get("generations") or 0) // per_prompt
        units = _units(kind, run.config, prompts, run.label_count or 0)
        rates.append((run.ended_at - run.started_at).total_seconds() / units)
    return rates


# When a waiting run begins


def waits(session: Session, runs: Sequence[Run]) -> dict[int, Wait]:
    """What those of these runs that wait are waiting for, by their ids."""
    if not any(run.state == "queued" for run in runs):
        return {}
    order = turns(session)
    running = session.scalars(select(Run).where(Run.state == "running").order_by(Run.id)).all()
    begins = _begins(session, order, running)
    now = running[0] if running else None
    places = {run.id: place for place, run in enumerate(order)}
    return {run.id: Wait(now, places[run.id], begins.get(run.id)) for run in runs if run.id in places}


def run_seconds(session: Session, run: Run) -> float:
    """How long a run takes from its beginning to its end."""
    units = _units_of(session, run)
    past = _past_rates(session, run.project_id, run.kind)
    return statistics.median(past) * units if past else START_S[run.kind] + PER_UNIT_S[run.kind] * units


def _begins(session: Session, order: Sequence[Run], running: Sequence[Run]) -> dict[int, float]:
    """Seconds until each waiting run begins, as many at a time as workers live; empty without one."""
    alive = session.scalar(select(func.count()).select_from(Worker).where(Worker.heartbeat_at > utc_now() - SILENT)) or 0
    if not alive:
        return {}
    free = [_left(session, run) for run in running][:alive]
    free += [0.0] * (alive - len(free))
    heapq.heapify(free)
    begins = {}
    for run in order:
        begins[run.id] = heapq.heappop(free)
        heapq.heappush(free, begins[run.id] + run_seconds(session, run))
    return begins


def _left(session: Session, run: Run, now: datetime | None = None) -> float:
    """How long a running run still takes."""
    if run.eta_s is not None:
        return run.eta_s
    elapsed = ((now or utc_now()) - run.started_at).total_seconds() if run.started_at else 0.0
    return max(SOON_S, run_seconds(session, run) - elapsed)


def _units_of(session: Session, run: Run) -> float:
    settings = config_dict(CONFIGS[run.kind]()) | run.config
    if run.kind == "sft":
        return 1.0
    if run.kind in ("reward", "preference"):
        return _units(run.kind, settings, 0, run.label_count or usable_label_count(session, run.project_id))
    return _units(run.kind, settings, _prompts_of(session, run) if run.kind in WRITES_ANSWERS else 0, 0)


def _prompts_of(session: Session, run: Run) -> int:
    """How many prompts a run answers."""
    ids = run.inputs.get("prompt_ids")
    if isinstance(ids, list):
        return len(ids)
    query = select(func.count(Prompt.id)).where(Prompt.project_id == run.project_id, Prompt.archived_at.is_(None))
    if run.inputs.get("split", "all") != "all":
        query = query.where(Prompt.split == run.inputs["split"])
    return session.scalar(query) or 0


# When there will be tasks


def next_tasks(session: Session, project: Project) -> NextTasks:
    """When somebody who has nothing to answer will have something: what annotators and the overview are told."""
    found = _next_tasks(session, project)
    alive = session.scalar(select(Worker.name).where(Worker.heartbeat_at > utc_now() - SILENT).limit(1)) is not None
    return found if alive or found.state in ("stopped", "none") else NextTasks("no_worker", None, found.run)


def _next_tasks(session: Session, project: Project) -> NextTasks:
    live = session.scalars(select(Run).where(Run.project_id == project.id, Run.state.in_(LIVE)).order_by(Run.id)).all()
    writing = [run for run in live if _makes_tasks(session, project, run)]
    for run in writing:
        if run.state == "running":
            return NextTasks("writing", _until_first_answers(session, run), run)
    if refill.stopped_by(session, project, project.policy_id) is not None and not writing:
        return NextTasks("stopped")
    wanted = writing[0] if writing else _coming_refill(session, project)
    if wanted is not None:
        order = turns(session, also=None if writing else wanted)
        running = session.scalars(select(Run).where(Run.state == "running").order_by(Run.id)).all()
        begins = _begins(session, order, running).get(wanted.id)
        return NextTasks("queued", None if begins is None else begins + _until_first_answers(session, wanted), wanted)
    if learning := [run for run in live if run.round_id is not None]:
        return NextTasks("learning", _rest_of_round(session, project, learning[0]), learning[0])
    return NextTasks("none")


def _makes_tasks(session: Session, project: Project, run: Run) -> bool:
    """Whether people are asked about what this run writes: answers of the policy, or of the one before that await theirs."""
    if run.kind != "sample" or run.inputs.get("split") == "holdout":
        return False
    policy = run.inputs.get("checkpoint", project.policy_id)
    if policy not in (project.policy_id, project.previous_policy_id) or project.policy_id is None:
        return False
    unasked = bool(make_tasks.prompts_with_unasked_answers(session, project.policy_id))
    if policy != project.policy_id:
        return unasked
    return not (unasked and make_tasks.previous_is_answering(session, project))  # then its answers wait for those


def _coming_refill(session: Session, project: Project) -> Run | None:
    """The run that the worker will queue at its next look; it is no row yet."""
    prompt_ids = refill.refill_prompts(session, project)
    if not prompt_ids:
        return None
    inputs = {"checkpoint": project.policy_id, "prompt_ids": prompt_ids}
    settings = config_dict(expected_config(project, "sample", {}))
    return Run(id=NOT_YET, project_id=project.id, kind="sample", config=settings, inputs=inputs, queued_at=utc_now())


def _until_first_answers(session: Session, run: Run) -> float:
    """Until the first batch is written, or the next one: tasks are made of answers as they come."""
    settings = config_dict(CONFIGS["sample"]()) | run.config
    batch = int(settings["batch_size"])
    if run.state == "running" and run.step and run.eta_s is not None:
        return run.eta_s * min(1.0, batch / max(1, run.total - run.step))
    answers = max(1, _prompts_of(session, run) * int(settings["per_prompt"]))
    start = START_S["sample"]
    first = start + max(0.0, run_seconds(session, run) - start) * min(1.0, batch / answers)
    elapsed = (utc_now() - run.started_at).total_seconds() if run.state == "running" and run.started_at else 0.0
    return max(SOON_S, first - elapsed)


def _rest_of_round(session: Session, project: Project, run: Run) -> float:
    """Until the round that this run belongs to waits for its decision."""
    begun = _left(session, run) if run.state == "running" else (waits(session, [run])[run.id].seconds or 0.0)
    if run.state == "queued":
        begun += run_seconds(session, run)
    round_ = session.get_one(Round, run.round_id)
    later = STAGES[STAGES.index("ppo" if run.kind in round_.methods else run.kind) + 1 :]
    return begun + sum(one.seconds for stage, one in expected_times(session, project, round_.config).items() if stage in later)
