"""The settings page's form: its fields, filled from a project and read back into values.

The plain settings stand first, in groups; the others wait for experts. Every field shows what counts now, its default where the
project sets nothing, and only what a person changed is written: a field put back to its default follows the default again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from app.guidelines.starting_point import told as told_words
from app.language.formats import paragraph
from app.language.languages import N_, _, known
from app.models import Project
from app.models.values import Unusable, number_between
from app.projects.checks import PLACES, TRAINED_BY_ROUNDS
from app.projects.service import ProjectValues
from app.runs.run_settings import OVERALL, offered_rewards, reason_names
from app.web.forms import Words, number_of, share_of
from trainer.contract.config import CONFIGS, PPOConfig, label_of, make_config
from trainer.contract.ppo_config import MOST_OUTSIDE
from trainer.contract.reward_config import MOST_WEIGHT, RewardConfig
from trainer.contract.setting import GROUPS, ConfigError, Setting, settings_of, weights_by_name

LABELS: Final = {
    "name": N_("Name"),
    "base_model": N_("Base model"),
    "triggers_on": N_("Start rounds without asking"),
    "trigger_labels": N_("After this many new labels"),
    "trigger_hours": N_("After this many hours"),
    "month_labels": N_("Labels a month, at most"),
    "month_evaluation_labels": N_("Verdicts in evaluations a month, at most"),
    "month_hours": N_("Hours of training a month, at most"),
    "hours_budget": N_("Hours of people a month, at most"),
    "keep_days": N_("Keep what nothing refers to"),
    "evaluation_on": N_("Let people judge candidates blind"),
    "evaluation_share": N_("Share of tasks"),
    "evaluation_budget": N_("Verdicts on each candidate"),
    "evaluation_flag_margin": N_("More flags than before, at most"),
    "evaluation_promotes": N_("Do what people decided without asking"),
    "chat_on": N_("Let annotators talk to the model"),
}
SWITCHES: Final = ("triggers_on", "evaluation_on", "evaluation_promotes", "chat_on")
OR_NONE: Final = (
    "trigger_labels",
    "trigger_hours",
    "month_labels",
    "month_evaluation_labels",
    "month_hours",
    "hours_budget",
    "keep_days",
)
SHARES: Final = ("evaluation_share", "evaluation_flag_margin")
WEIGHTS: Final = "training.reward.criteria_weights"  # on the page one field per criterion
OUTSIDE: Final = "training.ppo.outside"  # and one per reward outside of the model
EXPERTS: Final = {
    "sample": N_("How answers are written"),
    "reward": N_("Reward model"),
    "ppo": N_("Training with PPO"),
}


@dataclass(frozen=True)
class SettingField:
    """One setting of a run, as a form shows it."""

    name: str  # of the input
    label: str
    help: str
    unit: str
    choices: list[tuple[str, str]]  # value and words of each
    bounds: Mapping[str, str]  # of a number


@dataclass(frozen=True)
class Group:
    key: str
    title: str
    fields: list[SettingField]


def plain_groups(project: Project) -> list[Group]:
    return [
        Group(
            key, known(title), [_field(project, kind, one) for kind, one in _all() if one.group == key and not _is_weights(one)]
        )
        for key, title in GROUPS.items()
    ]


def expert_groups(project: Project) -> list[Group]:
    return [
        Group(kind, known(title), [_field(project, kind, one) for of, one in _all() if of == kind and one.is_for_experts])
        for kind, title in EXPERTS.items()
    ]


def weight_fields(project: Project) -> list[SettingField]:
    """What the model is rewarded for, a field for each: the verdict itself, criteria, rubric, marks; then what counted once."""
    kinds = ("criteria", "rubric", "span_reasons")
    here = [item for kind in kinds for item in getattr(project, kind)]
    gone = _weights(project).keys() - {OVERALL} - {item["key"] for item in here}
    items = told_words([*here, *(item for kind in kinds for item in project.retired[kind] if item["key"] in gone)])
    names = {OVERALL: _("Overall")} | {item["key"]: item["name"] for item in items}
    names |= reason_names(item for item in items if "tone" in item)
    bounds = {"min": "0", "max": f"{MOST_WEIGHT:g}", "step": "any"}
    return [SettingField(f"{WEIGHTS}.{key}", name, "", "", [], bounds) for key, name in names.items()]


def weights_help() -> str:
    return known(settings_of(RewardConfig)["criteria_weights"].help)


def outside_fields(project: Project) -> list[SettingField]:
    """Rewards outside of the model, one field for each that is offered here, or that counts and is offered no more."""
    bounds = {"min": "0", "max": f"{MOST_OUTSIDE:g}", "step": "any"}
    names = sorted(offered_rewards() | _outside(project).keys())
    return [SettingField(f"{OUTSIDE}.{name}", name, "", "", [], bounds) for name in names]


def outside_help() -> str:
    return known(settings_of(PPOConfig)["outside"].help)


def words_of(project: Project, *, with_base_model: bool) -> Words:
    """The form as the project stands; the base model has a field only while it can be changed."""
    words = {"name": project.name}
    words |= {name: "" if (value := getattr(project, name)) is None else f"{value:.15g}" for name in OR_NONE}
    words |= {name: "on" if getattr(project, name) else "" for name in SWITCHES}
    words |= {name: f"{getattr(project, name) * 100:.15g}" for name in SHARES}
    words["evaluation_budget"] = str(project.evaluation_budget)
    if with_base_model:
        words["base_model"] = project.base_model
    words |= {_name(kind, one): _text(one, _value(project, kind, one)) for kind, one in _all() if not _is_weights(one)}
    weights, outside = _weights(project), _outside(project)
    words |= {field.name: f"{outside.get(_key(field), 0.0):g}" for field in outside_fields(project)}
    return words | {field.name: f"{weights.get(_key(field), 0.0):g}" for field in weight_fields(project)}


def values_of(words: Words, changed: Words, project: Project) -> ProjectValues:
    """What the changed fields ask for; `words` is the whole form."""
    values: dict[str, Any] = {name: changed[name] for name in ("name", "base_model") if name in changed}
    numbers = (*OR_NONE, "evaluation_budget")
    values |= {name: number_of(changed[name]) for name in numbers if name in changed}
    values |= {name: share_of(changed[name]) for name in SHARES if name in changed}
    values |= {name: changed[name] == "on" for name in SWITCHES if name in changed}
    settings = {"sample": dict(project.sampling)} | {kind: dict(project.training.get(kind) or {}) for kind in TRAINED_BY_ROUNDS}
    for kind, one in _all():
        if _is_weights(one) and any(name.startswith(_name(kind, one)) for name in changed):
            fields = weight_fields(project) if kind == "reward" else outside_fields(project)
            given = _weights_text(words, fields)
        elif (name := _name(kind, one)) in changed:
            given = _read(one, changed[name], _default(project, kind, one))
        else:
            continue
        settings[kind][one.name] = given
        if kind != "sample" and given == _default(project, kind, one):
            del settings[kind][one.name]
        place, _dot, _kind = PLACES[kind].partition(".")
        values[place] = settings["sample"] if kind == "sample" else {of: settings[of] for of in TRAINED_BY_ROUNDS}
    return cast(ProjectValues, values)


def errors_of(fields: Mapping[str, str], words: Words, project: Project) -> dict[str, str]:
    """What is wrong with each field of the page. What is wrong with a weight stands at its criterion."""
    found = dict(fields)
    for place, each, most in (
        (WEIGHTS, weight_fields(project), MOST_WEIGHT),
        (OUTSIDE, outside_fields(project), MOST_OUTSIDE),
    ):
        wrong = {field.name: _weight_problem(words.get(field.name, ""), most) for field in each} if place in fields else {}
        if own := {name: sentence for name, sentence in wrong.items() if sentence}:
            del found[place]
            found |= own
    return found


def _weight_problem(text: str, most: float) -> str:
    try:
        number_between(0, most)(number_of(text or "0"))
    except Unusable as problem:
        return str(problem)
    return ""


def field_words(project: Project, name: str, text: str) -> str:
    """A field's value in a sentence."""
    for kind, one in _all():
        if name == _name(kind, one):
            return dict(_field(project, kind, one).choices).get(text, f"{text}%" if one.is_share else text)
    if name in SHARES:
        return f"{text}%"
    return {"on": _("On"), "": _("Off")}[text] if name in SWITCHES else text


def label_for(project: Project, name: str) -> str:
    """What the page calls a field."""
    if name in LABELS:
        return known(LABELS[name])
    if name in (WEIGHTS, OUTSIDE):
        return known(label_of(name.removeprefix("training.")))
    fields = [field for group in (*plain_groups(project), *expert_groups(project)) for field in group.fields]
    return {field.name: field.label for field in (*fields, *weight_fields(project), *outside_fields(project))}.get(name, name)


def _all() -> Iterator[tuple[str, Setting]]:
    """Every setting of every kind of run. The seed of a sample run is left out: each draws its own."""
    for kind in EXPERTS:
        for one in settings_of(CONFIGS[kind]).values():
            if (kind, one.name) != ("sample", "seed"):
                yield kind, one


def _field(project: Project, kind: str, one: Setting) -> SettingField:
    scale = 100 if one.is_share else 1
    bounds = {}
    if one.least is not None and one.most is not None:
        ends = {"min": f"{one.least * scale:.15g}", "max": f"{one.most * scale:.15g}"}
        bounds = ends | {"step": "1" if one.kind is int else "any"}
    choices = [(_text(one, value), known(words)) for value, words in one.choices.items()]
    default = _text(one, _default(project, kind, one))
    default = dict(choices).get(default, f"{default}%" if one.is_share else default)
    return SettingField(
        name=_name(kind, one),
        label=known(one.label),
        help=paragraph([known(one.help), _("Default: %(value)s.", value=default)]),
        unit=known(one.unit) if not one.is_share else "%",
        choices=choices,
        bounds=bounds,
    )


def _name(kind: str, one: Setting) -> str:
    return f"{PLACES[kind]}.{one.name}"


def _is_weights(one: Setting) -> bool:
    """Whether it is several weights, with a field for each."""
    return one.name in ("criteria_weights", "outside")


def _key(field: SettingField) -> str:
    return field.name.rpartition(".")[2]


def _value(project: Project, kind: str, one: Setting) -> Any:
    own = project.sampling if kind == "sample" else project.training.get(kind) or {}
    return own.get(one.name, _default(project, kind, one))


def _default(project: Project, kind: str, one: Setting) -> Any:
    """PPO samples as the answers that people judge were sampled, unless it is told otherwise."""
    shared = kind == "ppo" and one.name in ("temperature", "max_new_tokens")
    return project.sampling.get(one.name, one.default) if shared else one.default


def _weights(project: Project) -> dict[str, float]:
    """What counts now; nothing where an earlier version stored what cannot be read."""
    stored = (project.training.get("reward") or {}).get("criteria_weights", RewardConfig.criteria_weights)
    try:
        return cast(RewardConfig, make_config("reward", {"criteria_weights": stored})).weights()
    except ConfigError:
        return {}


def _outside(project: Project) -> dict[str, float]:
    """Likewise, of rewards outside of the model."""
    stored = (project.training.get("ppo") or {}).get("outside", PPOConfig.outside)
    try:
        return weights_by_name("outside", str(stored), MOST_OUTSIDE)
    except ConfigError:
        return {}


def _weights_text(words: Words, fields: Iterable[SettingField]) -> str:
    given = {_key(field): words.get(field.name, "").strip() for field in fields}
    return ", ".join(f"{key}={text}" for key, text in given.items() if text not in ("", "0"))


def _read(one: Setting, text: str, default: Any) -> Any:
    """A field that was emptied follows the default again."""
    text = text.strip()
    if not text:
        return default
    if one.kind is bool:
        return text == "on"
    if one.kind is str:
        return text
    return share_of(text) if one.is_share else number_of(text)


def _text(one: Setting, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if one.is_share and isinstance(value, int | float):
        return f"{value * 100:.15g}"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
