"""The overview's figures: labels and pace, queue, worker, the next round, and where the loop stands."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.assignment import people
from app.evaluation.alarm import alarm_now
from app.labels.empty_desk import Waiting, waiting
from app.labels.withdraw import still_stands
from app.language import formats
from app.language.languages import _
from app.models import Announcement, Checkpoint, Generation, Label, Project, Prompt, Round, Run, last_midnight, utc_now
from app.projects import hours_budget
from app.queue import make_tasks
from app.rounds import service
from app.rounds.triggers import NextTrigger, next_trigger
from app.rounds.unattended.budgets import Budget, budgets
from app.runs import checkpoints, estimates, refill
from app.runs.estimates import Wait
from app.runs.figures.reward_quality import quality_of
from app.runs.run_order import Standing, names_seen, turns, worker_standing
from app.webhooks.announcing import latest
from trainer.contract.messages import Message

LATEST_ROUNDS = 5
MOST_TIMES = 5_000  # times of one day that the median looks at


@dataclass(frozen=True)
class Pace:
    """Today's labels: how many, by how many people, and the median of the time a person spent on one."""

    labels: int
    people: int
    median_s: float | None
    timed: int  # labels the median rests on


@dataclass(frozen=True)
class Station:
    """One station of the loop. `state`: idle, active, done or waiting; `words` say more."""

    key: str
    name: str
    state: str
    words: str
    url: str


@dataclass(frozen=True)
class Overview:
    pace: Pace
    usable: int  # labels a reward model would learn from
    trigger: NextTrigger
    open_tasks: int
    prompts: int
    answers: bool  # whether the policy has answered anything
    worker: Standing
    open_round: Round | None
    waits_for_turn: bool  # the open round, for the worker
    live_run: Run | None  # of this project, the one that works or comes next
    wait: Wait | None  # what that run waits for
    names: dict[int, str]  # of the worker's project, where this reader may know it
    stopped: Run | None  # the failed run after which no more answers are asked for
    waiting: Waiting  # what somebody who has nothing to answer is told
    policy: Checkpoint | None
    alarm: Message | None  # until people have decided on a later candidate
    alarm_round: Round | None  # whose candidate raised it
    announcements: list[Announcement]
    budgets: list[Budget]  # of this month
    unseen: str  # prompts that are for nobody here, in words
    hours: hours_budget.Used | None  # of people's, likewise
    rounds: list[Round]
    stations: list[Station]


def project_overview(session: Session, project: Project, user_id: int | None) -> Overview:
    """What the overview page says to this person; none is the owner, who may know every project."""
    open_round = service.open_round(session, project.id)
    waits_for_turn = service.waits_for_turn(session, open_round)
    used = budgets(session, project)
    trigger = next_trigger(session, project, used=used)
    policy = session.get(Checkpoint, project.policy_id) if project.policy_id else None
    rounds = service.list_rounds(session, project.id, limit=LATEST_ROUNDS)
    open_tasks = make_tasks.open_task_count(session, project.id)
    worker = worker_standing(session)
    live_run = _live_run(session, project.id)
    evaluation, alarm = alarm_now(session, project.id) or (None, None)
    return Overview(
        pace=pace_today(session, project.id),
        usable=trigger.usable,
        trigger=trigger,
        open_tasks=open_tasks,
        prompts=_prompt_count(session, project.id),
        answers=_has_answers(session, project),
        worker=worker,
        open_round=open_round,
        waits_for_turn=waits_for_turn,
        live_run=live_run,
        wait=estimates.waits(session, [live_run]).get(live_run.id) if live_run else None,
        names=names_seen(session, [worker.run], user_id),
        waiting=waiting(session, project),
        stopped=refill.stopped_by(session, project, project.policy_id),
        policy=policy,
        alarm=alarm,
        alarm_round=session.get(Round, evaluation.round_id) if evaluation and evaluation.round_id else None,
        announcements=latest(session, project.id),
        budgets=used,
        unseen=people.unseen_words(people.unseen(session, project)),
        hours=hours_budget.used(project, utc_now()),
        rounds=rounds,
        stations=_stations(session, project, open_round, waits_for_turn, trigger, open_tasks, rounds),
    )


def pace_today(session: Session, project_id: int) -> Pace:
    """Since midnight where the server stands. A correction is no new label."""
    today = (Label.project_id == project_id, Label.version == 1, Label.created_at >= last_midnight(), still_stands(Label))
    labels, people = session.execute(select(func.count(Label.id), func.count(Label.annotator_id.distinct())).where(*today)).one()
    times = session.scalars(
        select(func.coalesce(Label.active_ms, Label.wall_ms))
        .where(*today[1:], Label.project_id + 0 == project_id)  # from the newest id on, and not all of the project's
        .where(func.coalesce(Label.active_ms, Label.wall_ms).is_not(None))
        .order_by(Label.id.desc())
        .limit(MOST_TIMES)
    ).all()
    return Pace(labels, people, statistics.median(times) / 1000 if times else None, len(times))


def _prompt_count(session: Session, project_id: int) -> int:
    return session.scalar(select(func.count(Prompt.id)).where(Prompt.project_id == project_id, Prompt.archived_at.is_(None))) or 0


def _has_answers(session: Session, project: Project) -> bool:
    return session.scalar(select(Generation.id).where(Generation.checkpoint_id == project.policy_id).limit(1)) is not None


def _live_run(session: Session, project_id: int) -> Run | None:
    live = select(Run).where(Run.project_id == project_id)
    working = session.scalar(live.where(Run.state == "running").order_by(Run.id).limit(1))
    return working or next((run for run in turns(session) if run.project_id == project_id), None)


# The loop


def _stations(
    session: Session,
    project: Project,
    open_round: Round | None,
    waits_for_turn: bool,
    trigger: NextTrigger,
    open_tasks: int,
    rounds: list[Round],
) -> list[Station]:
    root = f"/projects/{project.slug}"
    stage = open_round.state if open_round else None
    at = f"/rounds/{open_round.id}" if open_round else f"{root}/rounds"
    new = _("%(number)s new", number=formats.number(trigger.new_labels))
    waiting = formats.count(open_tasks, "open task")
    stations = [
        Station("labels", _("Labels"), "active" if stage is None else "done", new, f"{root}/labels"),
        Station("reward", _("Reward model"), _state(stage, "reward"), _reward_words(session, project, stage), at),
        Station("ppo", "PPO", _state(stage, "ppo"), _stage_words(stage, "ppo", _("training"), rounds), at),
        Station("candidate", _("Candidate"), _candidate_state(stage), _candidate_words(stage, rounds), at),
        Station("people", _("People"), "active" if open_tasks else "idle", waiting, f"{root}/annotate"),
    ]
    if not waits_for_turn:
        return stations
    here = {"sample": "candidate"}.get(stage or "", stage)
    return [replace(station, words=_("waits for its turn")) if station.key == here else station for station in stations]


ORDER = ("reward", "ppo", "sample", "evaluation", "decision")


def _state(stage: str | None, station: str) -> str:
    if stage is None:
        return "idle"
    return "active" if stage == station else "done" if ORDER.index(stage) > ORDER.index(station) else "idle"


def _candidate_state(stage: str | None) -> str:
    return {"sample": "active", "evaluation": "active", "decision": "waiting"}.get(stage or "", "idle")


def _reward_words(session: Session, project: Project, stage: str | None) -> str:
    if stage == "reward":
        return _("fitting")
    newest = checkpoints.newest_reward(session, project.id)
    quality = quality_of(newest.metrics) if newest else None
    return _("right on %(share)s", share=formats.percent(quality.accuracy)) if quality else _("none yet")


def _stage_words(stage: str | None, station: str, doing: str, rounds: list[Round]) -> str:
    if stage is None:
        return _("between rounds") if rounds else _("none yet")
    return {"active": doing, "done": _("done"), "idle": _("comes next")}[_state(stage, station)]


def _candidate_words(stage: str | None, rounds: list[Round]) -> str:
    if stage in ("sample", "evaluation", "decision"):
        return {"sample": _("writing answers"), "evaluation": _("judged blind")}.get(stage, _("waits for a decision"))
    if stage is not None:
        return _("not yet")
    decided = next((round_ for round_ in rounds if round_.decision), None)
    if decided is None:
        return _("none yet")
    return _("last one promoted") if decided.decision == "promoted" else _("last one rejected")
