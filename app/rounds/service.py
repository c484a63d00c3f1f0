"""Rounds: reward run, gate, training, sample runs, evaluation, decision. `advance_round` takes each step once the one before has
ended.

The stage `ppo` is that of training: by what the round names in `methods`, each from the same frozen labels, each for a candidate
of its own. One that fails takes no other with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound, Refusal
from app.evaluation.service import evaluation_of
from app.language import formats
from app.language.formats import listed
from app.language.languages import _
from app.models import Checkpoint, Generation, Project, Prompt, Round, Run, drawn_alone, utc_now
from app.prompts.lengths import lengths_of
from app.queue import asking
from app.rounds import announced, evaluating
from app.rounds.promotion import promote, reject, settle_promoted
from app.runs import checkpoints
from app.runs.run_settings import expected_config, run_configs
from app.runs.runs import (
    LIVE,
    answers_that_fit,
    check_demonstrations,
    get_run,
    hold_run,
    list_runs,
    own_checkpoint,
    queue_run,
    request_cancel,
    retries_of,
    runs_of_round,
)
from app.runs.usable_labels import usable_label_count
from trainer.contract.config import RewardConfig, config_dict
from trainer.contract.messages import Message, reason_of

__all__ = [
    "OPEN",
    "advance_round",
    "cancel_round",
    "cancel_run",
    "get_round",
    "get_run",
    "hold_run",
    "list_rounds",
    "list_runs",
    "open_round",
    "promote",
    "queue_run",
    "reject",
    "runs_of_round",
    "start_round",
]

STAGES = ("reward", "ppo", "sample")
METHODS = ("ppo", "preference")
CANCELLED_RUN = {
    "reward": Message("its_reward_run_cancelled"),
    "ppo": Message("its_ppo_run_cancelled"),
    "preference": Message("its_preference_run_cancelled"),
    "sample": Message("its_sample_run_cancelled"),
}
OPEN = (*STAGES, "evaluation", "decision")


def get_round(session: Session, round_id: int) -> Round:
    """Raises NotFound."""
    round_ = session.get(Round, round_id)
    if round_ is None:
        raise NotFound(_("There is no such round."))
    return round_


def list_rounds(session: Session, project_id: int, before: int | None = None, limit: int = 50) -> list[Round]:
    """The newest first; `before` is the id the page before ended with."""
    query = select(Round).where(Round.project_id == project_id)
    if before is not None:
        query = query.where(Round.id < before)
    return list(session.scalars(query.order_by(Round.id.desc()).limit(limit)))


def numbers_of(session: Session, round_ids: Iterable[int | None]) -> dict[int, int]:
    """How rounds are called, by id."""
    wanted = {one for one in round_ids if one is not None}
    return dict(session.execute(select(Round.id, Round.number).where(Round.id.in_(wanted))).all())


def open_round(session: Session, project_id: int) -> Round | None:
    """The round that computes or waits for a decision; a project has at most one."""
    return session.scalar(select(Round).where(Round.project_id == project_id).where(Round.state.in_(OPEN)).limit(1))


def waits_for_turn(session: Session, round_: Round | None) -> bool:
    """Whether the worker has yet to begin on the stage where the round stands."""
    if round_ is None:
        return False
    live = select(Run.state).where(Run.round_id == round_.id).where(Run.state.in_(LIVE))
    return set(session.scalars(live)) == {"queued"}


def fewest_labels(project: Project) -> int:
    """How many usable labels a round needs, unless it is given other settings."""
    return RewardConfig(**config_dict(expected_config(project, "reward", {}))).min_labels


def start_round(
    session: Session,
    project: Project,
    trigger: str,
    by: int | None,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    start: int | None = None,
    usable: int | None = None,
    methods: Sequence[str] = ("ppo",),
) -> Round:
    """Start a round on all labels so far: its reward run is queued. PPO goes on from `start`, by default the promoted policy.

    `usable` is how many labels it would learn from, where that was counted before the transaction: a million take a while.
    `methods` train in turn, each for a candidate.
    `config` may override settings per stage: {"reward": {...}, "ppo": {...}, "sample": {...}}. Raises Conflict while another
    round is open, when there are too few labels or, where a person starts it, no prompt is short enough; Invalid for a setting
    that cannot be used.
    """
    hold(session, project)
    if (other := open_round(session, project.id)) is not None:
        if other.state == "decision":
            raise Conflict(_("Round %(number)s waits for your decision; decide on it first.", number=other.number))
        if other.state == "evaluation":
            raise Conflict(
                _("People judge the candidate of round %(number)s now; decide on it or cancel it first.", number=other.number)
            )
        raise Conflict(_("Round %(number)s is still running; finish or cancel it first.", number=other.number))
    given = dict(config or {})
    if not methods or len(set(methods)) < len(methods) or not set(methods) <= set(METHODS):
        raise Invalid(_("A round trains by one or more of %(methods)s.", methods=listed(METHODS)), {"methods": _("unknown")})
    stages = ("reward", *methods, "sample")
    if unknown := given.keys() - set(stages):
        raise Invalid(_("A round has the stages %(stages)s.", stages=listed(stages)), {min(unknown): _("unknown stage")})
    given["sample"] = {"best_of": 1} | dict(given.get("sample") or {})  # candidate and policy are seen as they are
    settings = {stage: config_dict(config) for stage, config in run_configs(project, stages, given).items()}
    if "per_prompt" not in given["sample"]:  # its candidates answer every prompt
        settings["sample"]["per_prompt"] = answers_that_fit(session, project, settings["sample"]["per_prompt"])
    if settings["sample"]["best_of"] != 1:
        raise Invalid(_("A round shows what its candidate writes, none of it chosen."), {"sample.best_of": _("must be 1")})
    count = usable_label_count(session, project.id) if usable is None else usable
    needed = RewardConfig(**settings["reward"]).min_labels
    if count < needed:
        least, so_far = formats.count(needed, "label"), formats.count(count, "label")
        raise Conflict(_("A round needs at least %(least)s; so far: %(so_far)s.", least=least, so_far=so_far))
    if trigger == "admin":
        for method in methods:
            check_demonstrations(session, project, method, settings[method])
    if trigger == "admin" and (why := lengths_of(session, project, settings[methods[0]]["max_prompt_tokens"]).all_too_long):
        raise Conflict(why)  # a trigger would try again and again; its round ends with that reason once
    last = session.scalar(select(func.max(Round.number)).where(Round.project_id == project.id)) or 0
    round_ = Round(
        project_id=project.id,
        number=last + 1,
        trigger=trigger,
        config=settings if tuple(methods) == ("ppo",) else settings | {"methods": list(methods)},
        label_count=count,
        start_policy_id=_start_policy(session, project, start).id,
        created_by=by,
    )
    session.add(round_)
    session.flush()
    queue_run(session, project, "reward", settings["reward"], {}, by, round_)
    record(session, by, "round.started", f"round {round_.number}", {"trigger": trigger}, project.id)
    return round_


def advance_round(session: Session, round_: Round) -> None:
    """Called when a run has ended: queue the next stage, or close the round with the reason. Calling it twice changes nothing.

    Of two runs that end together, the second to come sees the first: whoever advances a round holds its project.
    """
    _hold_round(session, round_)
    if round_.state not in STAGES:
        return
    runs = runs_in_force(session, round_)
    if any(run.state in LIVE for run in runs):
        return
    bad = next((run for run in runs if run.state != "done"), None)
    if bad is not None and not _goes_on(session, round_, runs):
        refused = bad.result.get("status") == "refused"
        _close(session, round_, "cancelled" if bad.state == "cancelled" else "refused" if refused else "failed", bad.message)
    else:
        try:
            with session.begin_nested():
                _next_stage(session, round_, runs)
        except Refusal as refusal:  # the run itself ended well: what it made stays
            _close(session, round_, "failed", _stuck(round_.state, refusal.message))
    session.flush()


def undone_rounds(session: Session, project_id: int) -> list[Round]:
    """Rounds that say they compute while nothing is computed for them: whoever was to advance them did not."""
    live = select(Run.id).where(Run.round_id == Round.id, Run.state.in_(LIVE)).exists()
    return list(session.scalars(select(Round).where(Round.project_id == project_id, Round.state.in_(STAGES), ~live)))


def runs_in_force(session: Session, round_: Round) -> list[Run]:
    """The runs of the stage the round is in, less those that another one does again."""
    kinds = round_.methods if round_.state == "ppo" else (round_.state,)
    runs = [run for run in runs_of_round(session, round_.id) if run.kind in kinds]
    again = retries_of(session, [run.id for run in runs])
    return [run for run in runs if run.id not in again]


def cancel_run(session: Session, run: Run, by: int | None) -> None:
    """Cancel a run, and with it the round it belongs to. Raises Conflict when it has ended."""
    request_cancel(session, run, by)  # which holds the project
    if run.kind == "sample" and run.state == "cancelled":
        asking.note_due(session, run.project_id)  # what waited for its answers waits no longer
    if run.round_id is not None:
        round_ = hold(session, get_round(session, run.round_id))
        if round_.state in STAGES:
            _cancel_others(session, round_, by)
            _close(session, round_, "cancelled", CANCELLED_RUN[run.kind])
            evaluating.cancel(session, round_)
    session.flush()


def cancel_round(session: Session, round_: Round, by: int | None) -> None:
    """Stop a round that still computes, or is judged. Raises Conflict otherwise: what waits for an admin is rejected."""
    _hold_round(session, round_)
    if round_.state not in (*STAGES, "evaluation"):
        raise Conflict(_("This round does not compute any more."))
    _cancel_others(session, round_, by)
    _close(session, round_, "cancelled", Message("round_cancelled"))
    evaluating.cancel(session, round_)
    session.flush()


def _hold_round(session: Session, round_: Round) -> None:
    hold(session, session.get_one(Project, round_.project_id))
    hold(session, round_)


def _start_policy(session: Session, project: Project, wanted: int | None) -> Checkpoint:
    """The policy a round trains. Its reward model and the labels' token ids are of one base, so it must descend from that."""
    current = checkpoints.current_policy(session, project)
    start = own_checkpoint(session, project, wanted, "start", "policy") or current
    if checkpoints.root_of(session, start).id != checkpoints.root_of(session, current).id:
        raise Invalid(_("A round starts from a policy that grew out of the project's base model."), {"start": _("another base")})
    return start


def _goes_on(session: Session, round_: Round, runs: Sequence[Run]) -> bool:
    """Whether a round goes on though a run of its stage failed: with what another method's candidate has come to."""
    if any(run.state == "cancelled" for run in runs):
        return False
    if round_.state == "ppo":
        return any(run.state == "done" and checkpoints.made_by(session, run.id) is not None for run in runs)
    if round_.state == "sample" and all(run.state == "done" or evaluating.is_beside(run) for run in runs):
        return True
    candidates = {candidate.id for candidate in checkpoints.policies_of_round(session, round_.id)}
    answered = {run.inputs["checkpoint"] for run in runs if run.state == "done"} if round_.state == "sample" else set()
    return len(candidates) > 1 and not candidates.isdisjoint(answered)


def _next_stage(session: Session, round_: Round, runs: Sequence[Run]) -> None:
    """Raises Refusal when the next stage cannot be queued, for instance because all prompts were archived meanwhile."""
    if round_.state == "reward":
        _after_reward(session, round_, runs[-1])
    elif round_.state == "ppo":
        _after_training(session, round_)
    else:
        evaluating.open_or_decide(session, round_)
        settle_promoted(session, round_)
        if round_.state == "decision":
            evaluation = evaluation_of(session, round_)
            announced.waits(session, round_, evaluation.reason if evaluation else None)


def _after_reward(session: Session, round_: Round, run: Run) -> None:
    reward = checkpoints.made_by(session, run.id)
    round_.reward_id = reward.id if reward else None
    if reward is None or not run.result.get("gate_passed"):
        why = reason_of(run.result) or Message("not_better_than_chance")
        _close(session, round_, "refused", Message("no_training", reason=why))
        return
    project = session.get_one(Project, round_.project_id)
    round_.state = "ppo"
    for method in round_.methods:
        inputs = {"start": round_.start_policy_id} | ({"reward": reward.id} if method == "ppo" else {})
        queue_run(session, project, method, round_.config[method], inputs, round_.created_by, round_)


def _after_training(session: Session, round_: Round) -> None:
    candidates = checkpoints.policies_of_round(session, round_.id)
    if not candidates:
        alone = round_.methods == ("ppo",)
        _close(session, round_, "failed", Message("ppo_left_nothing") if alone else Message("training_left_nothing"))
        return
    project = session.get_one(Project, round_.project_id)
    round_.candidate_id = candidates[0].id
    round_.state = "sample"
    evaluation = evaluating.begin(session, round_, candidates)
    for checkpoint_id, split in _answers_wanted(session, round_, candidates, beside=evaluation is None):
        scored = evaluating.scored_by(session, round_, candidates[0]) if evaluation is not None else {}
        inputs = {"checkpoint": checkpoint_id, "split": split, **scored}
        queue_run(session, project, "sample", round_.config["sample"], inputs, round_.created_by, round_)


def _answers_wanted(session: Session, round_: Round, candidates: Sequence[Checkpoint], *, beside: bool) -> list[tuple[int, str]]:
    """Each candidate answers every prompt; the policy it came from, to be seen `beside`, the holdout prompts, unless it has."""
    holdout = select(Prompt.id).where(Prompt.project_id == round_.project_id).where(Prompt.split == "holdout")
    has_holdout = session.scalar(holdout.where(Prompt.archived_at.is_(None)).limit(1)) is not None
    answered = session.scalar(
        select(Generation.id)
        .where(Generation.checkpoint_id == round_.start_policy_id)
        .where(Generation.prompt_id.in_(holdout), drawn_alone())
        .limit(1)
    )
    wanted = [(candidate.id, "all") for candidate in candidates]
    if beside and has_holdout and answered is None:
        wanted.append((round_.start_policy_id, "holdout"))
    return wanted


def _cancel_others(session: Session, round_: Round, by: int | None) -> None:
    for run in runs_of_round(session, round_.id):
        if run.state in LIVE and run.cancel_requested_at is None:
            request_cancel(session, run, by)


def _stuck(stage: str, reason: Message) -> Message:
    """Why a round ends though the run of its stage ended well."""
    if stage == "reward":
        return Message("stuck_after_reward", reason=reason)
    return Message("stuck_after_ppo", reason=reason) if stage == "ppo" else Message("stuck_after_sample", reason=reason)


def _close(session: Session, round_: Round, state: str, reason: Message | None) -> None:
    round_.state, round_.reason, round_.ended_at = state, reason, utc_now()
    announced.ended(session, round_)
