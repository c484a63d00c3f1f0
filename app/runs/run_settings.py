"""The settings of a run: a project's own with the given ones on top, and what the project itself rules out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from app.errors import Invalid
from app.language.formats import listed
from app.language.languages import _
from app.language.run_messages import told
from app.models import ALONE, Checkpoint, Drawn, Project
from app.runs.checkpoints import get_checkpoint, newest_reward, root_of
from app.runs.memory.needs import does_not_fit
from app.settings import get_settings
from trainer.contract.config import (
    ConfigError,
    PPOConfig,
    PreferenceConfig,
    RewardConfig,
    RunConfig,
    SampleConfig,
    config_dict,
    make_config,
)
from trainer.contract.environment import installed_rewards
from trainer.contract.messages import Message

OVERALL: Final = "overall"
# What families of models call the most tokens they can hold.
_CONTEXT_NAMES: Final = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
_LARGEST_FILE: Final = 2**20


def run_config(project: Project, kind: str, given: Mapping[str, Any]) -> RunConfig:
    """The project's settings for this kind of run with the given ones on top. Raises Invalid, naming every field."""
    try:
        return _made(project, kind, given)
    except ConfigError as error:
        raise _refusal({f"{kind}.{name}": problem for name, problem in error.problems.items()}, error.problems) from None


def run_configs(project: Project, kinds: Iterable[str], given: Mapping[str, Mapping[str, Any]]) -> dict[str, RunConfig]:
    """The same for several kinds of runs at once, such as the stages of a round; a field is named "ppo.clip"."""
    configs: dict[str, RunConfig] = {}
    problems: dict[str, Message] = {}
    for kind in kinds:
        try:
            configs[kind] = _made(project, kind, given.get(kind) or {})
        except ConfigError as error:
            problems |= {f"{kind}.{name}": problem for name, problem in error.problems.items()}
    if problems:
        raise _refusal(problems, problems)
    return configs


def expected_config(project: Project, kind: str, given: Mapping[str, Any]) -> RunConfig:
    """As `run_config`, for pages that only foretell: what cannot be used is taken as its default, and said when a run starts."""
    values = _own_settings(project, kind) | dict(given)
    while True:
        try:
            return make_config(kind, values)
        except ConfigError as error:
            if error.problems.keys().isdisjoint(values):
                return make_config(kind, {})
            values = {name: value for name, value in values.items() if name not in error.problems}


def settings_of_project(sampling: Mapping[str, Any], training: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """What a project sets for a kind of run differently from the defaults."""
    own: dict[str, Any] = {}
    if kind == "sample":
        own = dict(sampling) | {"seed": secrets.randbelow(2**31)}  # a repeated seed would write the same answers again
    elif kind == "ask":  # as long and as varied as ours, with which its answers are compared
        own = {name: sampling[name] for name in ("per_prompt", "temperature", "max_new_tokens") if name in sampling}
    elif kind in ("ppo", "preference"):
        # Both must sample as the answers that people judge were sampled.
        own = {name: sampling[name] for name in ("temperature", "max_new_tokens") if name in sampling}
    if kind == "preference" and "max_prompt_tokens" in (training.get("ppo") or {}):
        own["max_prompt_tokens"] = training["ppo"]["max_prompt_tokens"]  # prompts that are practised on are no shorter here
    return own | dict(training.get(kind) or {})


def _own_settings(project: Project, kind: str) -> dict[str, Any]:
    """Where people are to put answers in order, each prompt is given as many as that takes."""
    own = settings_of_project(project.sampling, project.training, kind)
    if kind == "sample" and project.ranking_share > 0:
        own["per_prompt"] = max(usual_answers(project), project.ranking_answers)
    return own


def usual_answers(project: Project) -> int:
    """How many answers the project has written to a prompt where nothing asks for more."""
    return int(project.sampling.get("per_prompt", SampleConfig.per_prompt))


def _made(project: Project, kind: str, given: Mapping[str, Any]) -> RunConfig:
    config = make_config(kind, _own_settings(project, kind) | dict(given))
    criteria = criteria_of([*project.criteria, *project.rubric, *project.span_reasons], project.retired)
    problems = ruled_out(config, criteria, context_tokens(project.base_model))
    if problems := problems or does_not_fit(kind, config, project.base_model):
        raise ConfigError(problems)
    return config


def _refusal(problems: Mapping[str, Message], fields: Mapping[str, Message]) -> Invalid:
    """One refusal that says of every setting, by its label, what is wrong with it."""
    each = [Message("setting_unusable", setting=name, problem=problem) for name, problem in problems.items()]
    detail = reduce(lambda first, second: Message("both", first=first, second=second), each)
    return Invalid(detail, {name: told(problem) for name, problem in fields.items()})


def criteria_of(criteria: Collection[Mapping[str, Any]], retired: Mapping[str, Any]) -> set[str]:
    """The keys of what labels speak of, and so of what a model can be rewarded for."""
    once = (item for kind in ("criteria", "rubric", "span_reasons") for item in retired.get(kind, ()))
    return {OVERALL} | {str(item["key"]) for item in (*criteria, *once)}


def reason_names(reasons: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What a reward learns of marks, by key: that an answer bears a good one, or none that is bad."""
    return {
        one["key"]: _("marked “%(reason)s”", reason=one["name"])
        if one["tone"] == "good"
        else _("not marked “%(reason)s”", reason=one["name"])
        for one in reasons
    }


def ruled_out(config: RunConfig, criteria: Collection[str], context: int | None) -> dict[str, Message]:
    """What cannot be in this project: weights of criteria it never had and of rewards that nobody offers, more tokens than its
    base model holds."""
    if isinstance(config, RewardConfig):
        strangers = sorted(config.weights().keys() - set(criteria))
        if strangers:
            return {"criteria_weights": Message("no_such_criteria", names=listed(strangers))}
    if isinstance(config, PPOConfig):
        strangers = sorted(config.outside_weights().keys() - offered_rewards())
        if strangers:
            return {"outside": Message("no_such_outside", names=listed(strangers))}
    if context is None:
        return {}
    if isinstance(config, SampleConfig) and config.max_new_tokens >= context:
        return {"max_new_tokens": Message("must_leave_room", most=context)}
    if isinstance(config, PPOConfig | PreferenceConfig) and config.max_prompt_tokens + config.max_new_tokens > context:
        kind = "ppo" if isinstance(config, PPOConfig) else "preference"
        return {"max_prompt_tokens": Message("too_long_together", setting=f"{kind}.max_new_tokens", most=context)}
    if isinstance(config, RewardConfig) and config.max_tokens > context:
        return {"max_tokens": Message("longer_than_context", most=context)}
    return {}


def offered_rewards() -> set[str]:
    """The names of rewards outside of the model: the owner's addresses, and what installed packages offer."""
    return {*get_settings().rewards, *installed_rewards()}


def context_tokens(base_model: str) -> int | None:
    """The most tokens the base model holds, where its config.json lies on this machine and says so."""
    try:
        path = Path(base_model).expanduser() / "config.json"
        if not base_model or not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            return None
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    layers = [found, found.get("text_config")] if isinstance(found, dict) else []
    sizes = [layer.get(name) for layer in layers if isinstance(layer, dict) for name in _CONTEXT_NAMES]
    return next((size for size in sizes if type(size) is int and size > 0), None)


# Which reward model chooses among the answers of a sample run


def with_chooser(
    session: Session, project: Project, inputs: Mapping[str, Any], settings: Mapping[str, Any], *, asked_for: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and settings of a sample run, with the reward that chooses: the one given, or the newest that passed its test.

    It is of the policy's base. Where none has passed, every answer is kept as it is drawn, unless choosing was `asked_for` of
    this very run. Raises Invalid.
    """
    inputs, settings = dict(inputs), dict(settings)
    given = inputs.pop("reward", None)
    if settings["best_of"] == 1:
        if given is not None:
            raise Invalid(
                _("A reward model chooses nothing among one answer."), {"best_of": _("must be 2 or more with a reward")}
            )
        return inputs, settings
    base = root_of(session, get_checkpoint(session, inputs["checkpoint"]))
    reward = get_checkpoint(session, given) if given is not None else _chooser(session, project, base)
    if reward is not None and reward.parent_id != base.id:
        raise Invalid(_("That reward model was learned on another base than this policy's."), {"reward": _("another base")})
    if reward is None and asked_for:
        raise Invalid(
            _("Choosing among answers needs a reward model that passed its test; start a reward run first, or name one."),
            {"reward": _("there is none yet")},
        )
    if reward is None:
        return inputs, settings | {"best_of": 1}
    return inputs | {"reward": reward.id}, settings


def drawn_next(session: Session, project: Project, policy: Checkpoint) -> Drawn:
    """How the answers of a policy that the queue is filled with next will be come by."""
    n = int(config_dict(expected_config(project, "sample", {}))["best_of"])
    reward = _chooser(session, project, root_of(session, policy)) if n > 1 else None
    return Drawn(n, reward.id) if reward is not None else ALONE


def _chooser(session: Session, project: Project, base: Checkpoint) -> Checkpoint | None:
    return newest_reward(session, project.id, base.id, passed=True)
