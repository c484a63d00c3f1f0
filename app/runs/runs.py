"""Runs: queueing one, with its settings and inputs checked, and cancelling it. The supervisor does the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database.audit import record
from app.database.taking_turns import hold
from app.errors import Conflict, Invalid, NotFound
from app.language.formats import listed
from app.language.languages import _
from app.models import Checkpoint, Contender, OutsideModel, Project, Prompt, Round, Run, utc_now
from app.runs import checkpoints
from app.runs.run_files import TEXT_NAME
from app.runs.run_settings import run_config, usual_answers, with_chooser
from app.runs.usable_labels import has_demonstration, has_usable_rewrite, usable_by_method, usable_label_count
from trainer.contract.config import CONFIGS, config_dict
from trainer.contract.messages import Message

LIVE = ("queued", "running")
WRITES_ANSWERS = ("sample", "ask")  # kinds of runs whose rows are answers
MOST_WAITING = 20  # runs of a project that people queued by hand or by key; a round queues one after the other
MOST_ANSWERS = 20_000  # of one sample run: about a day of a small model on a small machine
INPUT_NAMES: dict[str, frozenset[str]] = {
    "sample": frozenset({"checkpoint", "split", "prompt_ids", "reward", "scored_by"}),
    "ask": frozenset({"contender", "split", "prompt_ids"}),
    "reward": frozenset({"policy"}),
    "ppo": frozenset({"reward", "start"}),
    "preference": frozenset({"start"}),
    "sft": frozenset({"text", "rewrites", "base"}),
}


def get_run(session: Session, run_id: int) -> Run:
    """Raises NotFound."""
    run = session.get(Run, run_id)
    if run is None:
        raise NotFound(_("There is no such run."))
    return run


def hold_run(session: Session, run_id: int) -> Run:
    """The run, and before it its project: kept until the transaction ends, as they are now. Raises NotFound."""
    hold(session, session.get_one(Project, get_run(session, run_id).project_id))
    return hold(session, get_run(session, run_id))


def list_runs(session: Session, project_id: int, before: int | None = None, limit: int = 50) -> list[Run]:
    """The newest first; `before` is the id the page before ended with."""
    query = select(Run).where(Run.project_id == project_id)
    if before is not None:
        query = query.where(Run.id < before)
    return list(session.scalars(query.order_by(Run.id.desc()).limit(limit)))


def runs_outside_rounds(session: Session, project_id: int, limit: int) -> list[Run]:
    """The newest first: refills, and what people started by hand."""
    outside = select(Run).where(Run.project_id == project_id, Run.round_id.is_(None))
    return list(session.scalars(outside.order_by(Run.id.desc()).limit(limit)))


def runs_of_round(session: Session, round_id: int) -> list[Run]:
    """In the order in which they were queued."""
    runs = select(Run).where(Run.round_id == round_id).order_by(Run.id)
    return list(session.scalars(runs.execution_options(populate_existing=True)))  # others may have ended since one was read


def retries_of(session: Session, run_ids: Iterable[int]) -> dict[int, int]:
    """Which run does each of these again, where one does."""
    again = select(Run.retry_of_id, Run.id).where(Run.retry_of_id.in_(list(run_ids)))
    return {failed: later for failed, later in session.execute(again) if failed is not None}


def split_inputs(kind: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a person sent for a run as (settings, inputs): the API takes both in one object."""
    names = INPUT_NAMES.get(kind, frozenset())
    settings = {name: value for name, value in values.items() if name not in names}
    return settings, {name: value for name, value in values.items() if name in names}


def queue_run(
    session: Session,
    project: Project,
    kind: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Any],
    by: int | None,
    round_: Round | None = None,
) -> Run:
    """Queue one run; the worker starts it when it is free.

    `config` holds settings of trainer.contract.config, `inputs` the names of INPUT_NAMES. Raises Invalid, NotFound, or Conflict
    where too many wait already.
    """
    if hold(session, project).archived_at is not None:
        raise Conflict(_("This project is archived: nothing is computed for it until somebody brings it back."))
    if kind not in CONFIGS:
        raise Invalid(_("A run is one of %(kinds)s.", kinds=listed(CONFIGS)), {"kind": _("unknown")})
    settings = config_dict(run_config(project, kind, config))
    if unknown := inputs.keys() - INPUT_NAMES[kind]:
        name = min(unknown)
        raise Invalid(_("%(name)s is not an input of a %(kind)s run.", name=name, kind=kind), {name: _("unknown")})
    if by is not None and round_ is None:
        _check_waiting(session, project.id)
    checked = _checked_inputs(session, project, kind, inputs)
    check_demonstrations(session, project, kind, settings)
    if kind == "preference" and not usable_by_method(session, project.id)[settings["method"]]:
        raise Invalid(Message("labels_prefer_nothing"), {"method": _("there is none yet")})
    if kind == "sample":
        checked, settings = with_chooser(session, project, checked, settings, asked_for="best_of" in config)
    if kind in WRITES_ANSWERS:
        _check_answers(session, project, checked, settings["per_prompt"] * settings.get("best_of", 1))
    run = Run(
        project_id=project.id,
        round_id=round_.id if round_ else None,
        kind=kind,
        config=settings,
        inputs=checked,
        message=Message("waiting"),
        created_by=by,
    )
    session.add(run)
    session.flush()
    record(session, by, "run.queued", f"run {run.id}", {"kind": kind}, project.id)
    return run


def check_demonstrations(session: Session, project: Project, kind: str, settings: Mapping[str, Any]) -> None:
    """Raises Invalid where these settings ask for demonstrations, and there is none."""
    rated = bool(settings.get("ptx_top_rated"))
    if settings.get("ptx_weight") and not has_demonstration(session, project.id, top_rated=rated):
        name = f"{kind}.ptx_weight"
        raise Invalid(Message("no_demonstration", setting=name), {"ptx_weight": _("there is none yet")})


def _check_waiting(session: Session, project_id: int) -> None:
    waiting = select(func.count()).where(Run.project_id == project_id, Run.state == "queued")
    if (session.scalar(waiting) or 0) >= MOST_WAITING:
        raise Conflict(
            _(
                "%(most)s runs of this project are waiting already. Cancel some, or come back when some are done.",
                most=MOST_WAITING,
            )
        )


def request_cancel(session: Session, run: Run, by: int | None) -> None:
    """Cancel at once what still waits; ask the worker to stop what runs, which takes seconds.

    Raises Conflict when it has ended.
    """
    hold_run(session, run.id)  # the worker may be taking it at this moment
    if run.state not in LIVE:
        raise Conflict(_("This run has ended already: %(state)s.", state=run.state))
    now = utc_now()
    run.cancel_requested_at = run.cancel_requested_at or now
    if run.state == "queued":
        run.state, run.ended_at, run.message = "cancelled", now, Message("cancelled_before_start")
    else:
        run.message = Message("stopping")
    record(session, by, "run.cancelled", f"run {run.id}", None, run.project_id)
    session.flush()


def prompts_to_answer(session: Session, project_id: int, inputs: Mapping[str, Any]) -> list[Prompt]:
    """The prompts a sample run answers, in the order of its list, else of their ids."""
    query = select(Prompt).where(Prompt.project_id == project_id).where(Prompt.archived_at.is_(None))
    if inputs.get("split", "all") != "all":
        query = query.where(Prompt.split == inputs["split"])
    ids = inputs.get("prompt_ids")
    if ids is None:
        return list(session.scalars(query.order_by(Prompt.id)))
    found = {prompt.id: prompt for prompt in session.scalars(query.where(Prompt.id.in_(ids)))}
    return [found[prompt_id] for prompt_id in ids if prompt_id in found]


def _checked_inputs(session: Session, project: Project, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "sample":
        checkpoint = own_checkpoint(session, project, given.get("checkpoint"), "checkpoint", "policy")
        asked = (checkpoint or checkpoints.current_policy(session, project)).id
        inputs = {"checkpoint": asked, **_prompts_named(given)}
        if (reward := own_checkpoint(session, project, given.get("reward"), "reward", "reward")) is not None:
            inputs["reward"] = reward.id
        if (scorer := own_checkpoint(session, project, given.get("scored_by"), "scored_by", "reward")) is not None:
            inputs["scored_by"] = scorer.id  # each answer is kept as it is drawn, with what this reward model says of it
        return inputs
    if kind == "ask":
        return {"contender": _model_outside(session, project, given.get("contender")).id, **_prompts_named(given)}
    if kind == "ppo":
        reward = own_checkpoint(session, project, given.get("reward"), "reward", "reward")
        reward = reward or checkpoints.newest_reward(session, project.id)
        if reward is None:
            raise Invalid(_("PPO needs a reward model; start a reward run first."), {"reward": _("there is none yet")})
        start = own_checkpoint(session, project, given.get("start"), "start", "policy")
        return {"reward": reward.id, "start": (start or checkpoints.current_policy(session, project)).id}
    if kind == "reward":
        policy = own_checkpoint(session, project, given.get("policy"), "policy", "policy")
        return {"policy": (policy or checkpoints.current_policy(session, project)).id}
    if kind == "preference":
        if not usable_label_count(session, project.id):
            raise Invalid(_("Nobody has judged an answer to a training prompt yet."))
        start = own_checkpoint(session, project, given.get("start"), "start", "policy")
        return {"start": (start or checkpoints.current_policy(session, project)).id}
    if kind == "sft":
        return _sft_inputs(session, project, given)
    raise AssertionError(kind)


def _prompts_named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Which prompts a run is to answer."""
    split = given.get("split", "train")
    if split not in ("train", "holdout", "all"):
        raise Invalid(_("split is train, holdout or all."), {"split": _("must be train, holdout or all")})
    named = {"prompt_ids": _prompt_ids(given["prompt_ids"])} if given.get("prompt_ids") is not None else {}
    return {"split": split, **named}


def _model_outside(session: Session, project: Project, value: Any) -> Contender:
    """The project's contender with this id, which can be asked. Raises Invalid."""
    found = session.get(Contender, value) if type(value) is int and 0 < value < 2**63 else None
    if found is None or found.project_id != project.id or found.outside_id is None:
        raise Invalid(
            _("contender must be the id of a model outside that was picked for this project."), {"contender": _("none")}
        )
    if found.archived_at is not None:
        raise Invalid(_("%(name)s was put away. Bring it back first.", name=found.name), {"contender": _("put away")})
    if session.get_one(OutsideModel, found.outside_id).archived_at is not None:
        raise Invalid(
            _("%(name)s is asked no more: its owner took it out of use.", name=found.name), {"contender": _("not in use")}
        )
    return found


def _sft_inputs(session: Session, project: Project, given: Mapping[str, Any]) -> dict[str, Any]:
    """Rewrites teach the policy there is; a text alone makes a new SimpleLM, unless it says what to go on from."""
    rewrites = given.get("rewrites", False)
    if type(rewrites) is not bool:
        raise Invalid(_("rewrites is true or false."), {"rewrites": _("must be true or false")})
    if rewrites and not has_usable_rewrite(session, project.id):
        raise Invalid(_("Nobody has rewritten an answer to a training prompt yet."), {"rewrites": _("there is none yet")})
    text = _text_name(given.get("text")) if given.get("text") is not None or not rewrites else None
    base = own_checkpoint(session, project, given.get("base"), "base", "policy")
    if base is None and rewrites:
        base = checkpoints.current_policy(session, project)
    return {"text": text, "rewrites": rewrites, "base": base.id if base else None}


def own_checkpoint(session: Session, project: Project, value: Any, field: str, kind: str) -> Checkpoint | None:
    """The project's checkpoint with this id; None for None. Raises Invalid for any other value, naming the field."""
    if value is None:
        return None
    found = session.get(Checkpoint, value) if type(value) is int and 0 < value < 2**63 else None
    if found is None or found.project_id != project.id or found.kind != kind:
        raise Invalid(
            _("%(field)s must be the id of a %(kind)s checkpoint of this project.", field=field, kind=kind),
            {field: _("not a %(kind)s checkpoint here", kind=kind)},
        )
    return checkpoints.require_weights(found)


def _prompt_ids(value: Any) -> list[int]:
    if (
        not isinstance(value, list)
        or not all(type(item) is int and 0 < item < 2**63 for item in value)
        or len(value) > MOST_ANSWERS
    ):
        raise Invalid(_("prompt_ids is a list of prompt ids."), {"prompt_ids": _("must be a list of ids")})
    return list(dict.fromkeys(value))


def _text_name(value: Any) -> str:
    if not isinstance(value, str) or not TEXT_NAME.fullmatch(value):
        raise Invalid(
            _("text is the name of one of this project's texts, a .txt or .jsonl file."), {"text": _("not such a name")}
        )
    return value


def _check_answers(session: Session, project: Project, inputs: Mapping[str, Any], per_prompt: int) -> None:
    """`per_prompt`: answers that are drawn to each, those that are not kept included."""
    query = select(func.count(Prompt.id)).where(Prompt.project_id == project.id).where(Prompt.archived_at.is_(None))
    if inputs["split"] != "all":
        query = query.where(Prompt.split == inputs["split"])
    count = session.scalar(query) or 0
    if "prompt_ids" in inputs:
        count = len(prompts_to_answer(session, project.id, inputs))
    if not count:
        raise Invalid(Message("no_prompt_to_answer"))
    if count * per_prompt > MOST_ANSWERS:
        too_many = Message("too_many_answers", answers=count * per_prompt, most=MOST_ANSWERS)
        raise Invalid(too_many, {"per_prompt": _("too many")})


def answers_that_fit(session: Session, project: Project, wanted: int) -> int:
    """Of so many answers to each prompt, those that one run may write to all of them; never fewer than are usual here."""
    prompts = select(func.count(Prompt.id)).where(Prompt.project_id == project.id, Prompt.archived_at.is_(None))
    return min(wanted, max(usual_answers(project), MOST_ANSWERS // max(1, session.scalar(prompts) or 0)))


def prompts_by_id(session: Session, project_id: int, prompt_ids: Iterable[Any]) -> dict[int, Prompt]:
    """The prompts that a run folder names by their ids; ids that are none of the project's are left out."""
    ids = {prompt_id for prompt_id in prompt_ids if type(prompt_id) is int and 0 < prompt_id < 2**63}
    mine = select(Prompt).where(Prompt.project_id == project_id, Prompt.id.in_(ids))
    return {prompt.id: prompt for prompt in session.scalars(mine)} if ids else {}
