"""What a project's settings must fulfil, each refusal in the words of the person who set it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from app.errors import Invalid
from app.guidelines import service as guidelines
from app.language.languages import _
from app.language.run_messages import told
from app.models.criteria import TONES, RubricItem, SpanReason
from app.models.values import Unusable, number_between, plain_text, share_between, whole_number, without_invisible
from app.practice import service as practice
from app.runs.run_settings import context_tokens, criteria_of, ruled_out, settings_of_project
from trainer.contract.config import ConfigError, config_dict, make_config
from trainer.contract.messages import Message

MAX_NAME = 200
MAX_CRITERIA = 12
MAX_FLAGS = 20
MAX_RUBRIC = 12
MAX_REASONS = 12
MAX_WEIGHT = 10.0  # of a flag, in units of the latent reward
TEXT_DISPLAYS = ("written", "markdown")
MAX_OVERLAP = 20
RANKED = (3, 6)  # answers in a ranking
MAX_EXTRA_SEATS = 5
TRAINED_BY_ROUNDS = ("reward", "ppo")
PLACES = {"sample": "sampling"} | {kind: f"training.{kind}" for kind in TRAINED_BY_ROUNDS}  # where their settings are

_REWARDED = ("criteria", "rubric", "span_reasons")  # what a model may be rewarded for, by keys
RESERVED_KEYS = frozenset({"overall", "judge", "flags"})  # a reward model has heads of its own under these names
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")


def check_values(values: Mapping[str, Any], standing: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are stored. Raises Invalid naming every field that cannot be used.

    `standing` is how the project stands in everything else: a PATCH may switch on what an earlier one described.
    """
    clean: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in values.items():
        try:
            clean[name] = _CHECKS[name](value)
        except KeyError:
            problems[name] = _("This is not a setting of a project.")
        except ConfigError as error:
            problems |= {f"{name}.{field}": told(message) for field, message in error.problems.items()}
        except Unusable as problem:
            problems[name] = str(problem)
    problems = _contradictions(values, clean, standing) | problems
    if problems:
        raise Invalid(_("Some settings cannot be used. Nothing was changed."), problems)
    return clean


def _contradictions(given: Container[str], clean: Mapping[str, Any], standing: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the project as it will be, where what is given has to do with it."""
    whole, found = {**standing, **clean}, {}
    if whole["triggers_on"] and whole["trigger_labels"] is None and whole["trigger_hours"] is None:
        found["triggers_on"] = _("Say after how many labels or hours a round starts, or switch it off.")
    if whole["rating_share"] + whole["ranking_share"] > 1 + 1e-9:
        field = "ranking_share" if "ranking_share" in clean else "rating_share"
        found[field] = _("Ratings and rankings together cannot be more than all tasks.")
    found |= _shared_keys(clean, whole)
    criteria = criteria_of(  # what is taken away is still known
        [item for kind in _REWARDED for item in (*standing[kind], *whole[kind])], whole["retired"]
    )
    for kind, place in PLACES.items():
        if place.partition(".")[0] not in given:
            continue
        try:
            config = make_config(kind, settings_of_project(whole["sampling"], whole["training"], kind))
        except ConfigError:  # stored by an earlier version; said where it is next changed or used
            continue
        wrong = ruled_out(config, criteria, context_tokens(whole["base_model"]))
        found |= {f"{place}.{name}": told(message) for name, message in wrong.items()}
    return found


def _shared_keys(clean: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, str]:
    """A model is rewarded for all of these by their keys, so no two are alike."""
    changed = [kind for kind in reversed(_REWARDED) if kind in clean]
    keys = [key for kind in _REWARDED for key in {item["key"] for item in (*whole[kind], *whole["retired"][kind])}]
    twins = [key for key, times in sorted(Counter(keys).items()) if times > 1]
    if not changed or not twins:
        return {}
    sentence = _(
        "The key %(key)s is that of two: a criterion, a question of the rubric, a reason for a mark. Each needs its own.",
        key=twins[0],
    )
    return {changed[0]: sentence}


def check_base_model(spec: Any) -> str:
    """A folder with a model in it, a .gguf file, or the id of a model on the Hugging Face hub.

    A hub id is only looked at, never fetched here: the worker downloads it with the first run.
    """
    text = plain_text(spec, 500).strip()
    if not text:
        raise Unusable(_("Name a base model: a folder, a hub id or a .gguf file."))
    if text.lower().endswith(".gguf"):
        if not Path(text).expanduser().is_file():
            raise Unusable(_("There is no such .gguf file on this machine."))
        return str(Path(text).expanduser().resolve())
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file() and not (folder / "manifest.json").is_file():
            raise Unusable(_("That folder holds no model: neither config.json nor manifest.json is in it."))
        return str(folder.resolve())
    if text.startswith((".", "/", "~", "\\")) or not _HUB_ID.fullmatch(text):
        raise Unusable(
            _(
                "This is neither a folder on this machine nor a hub id such as "
                "HuggingFaceTB/SmolLM2-135M-Instruct nor a .gguf file."
            )
        )
    return text


def _name(value: Any) -> str:
    text = " ".join(plain_text(value, MAX_NAME).split())
    if not without_invisible(text).strip():
        raise Unusable(_("Give the project a name."))
    return text


def _criteria(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Unusable(_("Criteria come as a list."))
    if len(value) > MAX_CRITERIA:
        raise Unusable(_("More than %(most)s criteria are too many to judge by.", most=MAX_CRITERIA))
    criteria = [_criterion(item) for item in value]
    _refuse_twins([criterion["key"] for criterion in criteria])
    return criteria


def _criterion(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise Unusable(_("Each criterion needs a key, a name, a description and anchors."))
    unknown = item.keys() - {"key", "name", "description", "anchors"}
    if unknown:
        raise Unusable(_("A criterion has a key, a name, a description and anchors, and nothing else."))
    key = _key(item.get("key", ""))
    if key in RESERVED_KEYS:
        raise Unusable(_("The key %(key)s is taken by the reward model itself; choose another.", key=key))
    name = plain_text(item.get("name", ""), 60).strip()
    if not name:
        raise Unusable(_("The criterion %(key)s needs a name.", key=key))
    anchors = item.get("anchors", {})
    if not isinstance(anchors, Mapping) or anchors.keys() - {"1", "5"}:
        raise Unusable(_("The anchors of %(key)s are the words under 1 and under 5.", key=key))
    return {
        "key": key,
        "name": name,
        "description": plain_text(item.get("description", ""), 500).strip(),
        "anchors": {score: plain_text(anchors.get(score, ""), 80).strip() for score in ("1", "5")},
    }


def _flags(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Unusable(_("Flags come as a list."))
    if len(value) > MAX_FLAGS:
        raise Unusable(_("More than %(most)s flags are too many to choose from.", most=MAX_FLAGS))
    flags = [_flag(item) for item in value]
    _refuse_twins([flag["key"] for flag in flags])
    return flags


def _flag(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping) or item.keys() - {"key", "name", "description", "weight"}:
        raise Unusable(_("A flag has a key, a name, a description and a weight, and nothing else."))
    key = _key(item.get("key", ""))
    name = plain_text(item.get("name", ""), 60).strip()
    if not name:
        raise Unusable(_("The flag %(key)s needs a name.", key=key))
    weight = item.get("weight", 1.0)
    if type(weight) not in (int, float) or not 0 <= weight <= MAX_WEIGHT:
        raise Unusable(_("The weight of %(key)s must be a number from 0 to %(most)s.", key=key, most=f"{MAX_WEIGHT:g}"))
    description = plain_text(item.get("description", ""), 500).strip()
    return {"key": key, "name": name, "description": description, "weight": float(weight)}


def _rubric(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Unusable(_("The rubric comes as a list."))
    if len(value) > MAX_RUBRIC:
        raise Unusable(_("More than %(most)s questions are too many to answer about every answer.", most=MAX_RUBRIC))
    items = [_rubric_item(item) for item in value]
    _refuse_twins([item["key"] for item in items])
    return items


def _rubric_item(item: Any) -> dict[str, Any]:
    """Without what the project itself keeps of it: its version, its earlier words."""
    if not isinstance(item, Mapping) or item.keys() - RubricItem.__annotations__.keys():
        raise Unusable(_("A question of the rubric has a key, a name, a description and whether it is required."))
    key = _key(item.get("key", ""))
    if key in RESERVED_KEYS:
        raise Unusable(_("The key %(key)s is taken by the reward model itself; choose another.", key=key))
    name = plain_text(item.get("name", ""), 120).strip()
    if not name:
        raise Unusable(_("The question %(key)s has no words.", key=key))
    description = plain_text(item.get("description", ""), 500).strip()
    return {"key": key, "name": name, "description": description, "required": _on_off(item.get("required", False))}


def _span_reasons(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Unusable(_("The reasons for marks come as a list."))
    if len(value) > MAX_REASONS:
        raise Unusable(_("More than %(most)s reasons are too many to choose from while reading.", most=MAX_REASONS))
    reasons = [_span_reason(item) for item in value]
    _refuse_twins([reason["key"] for reason in reasons])
    return reasons


def _span_reason(item: Any) -> dict[str, Any]:
    """Without what the project itself keeps of it, as with a question."""
    if not isinstance(item, Mapping) or item.keys() - SpanReason.__annotations__.keys():
        raise Unusable(_("A reason for a mark has a key, a name, a description and a tone."))
    key = _key(item.get("key", ""))
    if key in RESERVED_KEYS:
        raise Unusable(_("The key %(key)s is taken by the reward model itself; choose another.", key=key))
    name = plain_text(item.get("name", ""), 60).strip()
    if not name:
        raise Unusable(_("The reason %(key)s needs a name.", key=key))
    if (tone := item.get("tone", "bad")) not in TONES:
        raise Unusable(_("The tone of %(key)s is bad or good.", key=key))
    return {"key": key, "name": name, "description": plain_text(item.get("description", ""), 500).strip(), "tone": tone}


def _key(value: Any) -> str:
    key = plain_text(value, 40)
    if not _KEY.fullmatch(key):
        raise Unusable(_("A key is a small letter followed by small letters, digits or underscores, 40 at most."))
    return key


def _refuse_twins(keys: list[str]) -> None:
    for key in keys:
        if keys.count(key) > 1:
            raise Unusable(_("The key %(key)s is there twice.", key=key))


def _text_display(value: Any) -> str:
    if value not in TEXT_DISPLAYS:
        raise Unusable(_("A model's text is shown either as written or as Markdown."))
    return str(value)


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _on_off(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unusable(_("This is either on or off."))
    return value


def _hours_budget(value: Any) -> float | None:
    return number_between(0, 1_000_000)(value) or None  # 0 hours are no bound


def _sampling(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Unusable(_("Sampling settings come as an object."))
    return config_dict(make_config("sample", dict(value)))


def _training(value: Any) -> dict[str, Any]:
    """Only what is set; it is completed by the defaults of the day when a round starts."""
    if not isinstance(value, Mapping) or value.keys() - set(TRAINED_BY_ROUNDS):
        raise Unusable(_("Training settings come as an object with reward and ppo."))
    clean: dict[str, Any] = {}
    problems: dict[str, Message] = {}
    for kind, settings in value.items():
        if not isinstance(settings, Mapping):
            raise Unusable(_("The settings of %(kind)s come as an object.", kind=kind))
        try:
            config = config_dict(make_config(kind, dict(settings)))
        except ConfigError as error:
            problems |= {f"{kind}.{name}": message for name, message in error.problems.items()}
        else:
            clean[kind] = {name: config[name] for name in settings}
    if problems:
        raise ConfigError(problems)
    return clean


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "base_model": check_base_model,
    "guidelines": guidelines.checked,
    "criteria": _criteria,
    "flags": _flags,
    "rubric": _rubric,
    "span_reasons": _span_reasons,
    "text_display": _text_display,
    "overlap": whole_number(1, MAX_OVERLAP),
    "extra_seats": whole_number(0, MAX_EXTRA_SEATS),
    "rating_share": share_between(0, 1),
    "ranking_share": share_between(0, 1),
    "ranking_answers": whole_number(*RANKED),
    "queue_low_mark": whole_number(1, 10_000),
    "practice_tasks": practice.CHECKS["practice_tasks"],
    "qualifying_score": practice.CHECKS["qualifying_score"],
    "sampling": _sampling,
    "training": _training,
    "triggers_on": _on_off,
    "evaluation_on": _on_off,
    "evaluation_share": share_between(0.05, 0.9),
    "evaluation_budget": whole_number(20, 20_000),
    "evaluation_flag_margin": share_between(0.01, 0.5),
    "evaluation_promotes": _on_off,
    "chat_on": _on_off,
    "repeat_share": share_between(0, 0.2),
    "gold_share": share_between(0, 0.5),
    "gold_pauses": _on_off,
    "trigger_labels": _or_none(whole_number(1, 1_000_000)),
    "trigger_hours": _or_none(number_between(0.1, 24 * 366)),
    "month_labels": _or_none(whole_number(1, 10_000_000)),
    "month_evaluation_labels": _or_none(whole_number(1, 10_000_000)),
    "keep_days": _or_none(whole_number(1, 36_500)),
    "month_hours": _or_none(number_between(0.1, 24 * 31)),
    "hours_budget": _or_none(_hours_budget),
}
