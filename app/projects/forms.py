"""The settings page's form: its fields, filled from a project and read back into values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast, get_type_hints

from app.language.languages import N_, known
from app.models import Project
from app.projects.checks import TRAINED_BY_ROUNDS
from app.projects.service import ProjectValues
from app.web.forms import Words, number_of
from trainer.contract.config import CONFIGS, SampleConfig, label_of

LABELS = {"triggers_on": N_("Rounds")}


@dataclass(frozen=True)
class ConfigField:
    """One field of trainer.contract.config, as a form shows it."""

    name: str
    label: str
    help: str
    unit: str
    default: str
    choices: list[tuple[str, str]]  # value and words of each
    is_switch: bool
    is_number: bool


def config_fields(kind: str) -> list[ConfigField]:
    """The settings of a kind of run. The seed is left out where every run draws its own."""
    types = get_type_hints(CONFIGS[kind])
    return [
        ConfigField(
            name=field.name,
            label=known(label_of(f"{kind}.{field.name}")),
            help=known(field.metadata["help"]),
            unit=known(field.metadata["unit"]),
            default=_word(field.default),
            choices=[
                (word, known(word))
                for word in ((N_("on"), N_("off")) if types[field.name] is bool else field.metadata["choices"])
            ],
            is_switch=types[field.name] is bool,
            is_number=types[field.name] in (int, float),
        )
        for field in dataclasses.fields(CONFIGS[kind])
        if not (kind == "sample" and field.name == "seed")
    ]


def words_of(project: Project) -> Words:
    """The form as the project stands."""
    sampling = dataclasses.asdict(SampleConfig()) | project.sampling
    words = {
        "name": project.name,
        "base_model": project.base_model,
        "triggers_on": "on" if project.triggers_on else "",
        "trigger_labels": "" if project.trigger_labels is None else str(project.trigger_labels),
        "trigger_hours": "" if project.trigger_hours is None else f"{project.trigger_hours:g}",
    }
    words |= {f"sampling.{field.name}": _word(sampling[field.name]) for field in config_fields("sample")}
    for kind in TRAINED_BY_ROUNDS:
        words |= {f"training.{kind}.{name}": _word(value) for name, value in project.training.get(kind, {}).items()}
    return words


def values_of(words: Words, stored: Project) -> ProjectValues:
    """What the filled-in form asks for. A training field left empty falls back to its default."""
    values: dict[str, Any] = {
        "name": words.get("name", ""),
        "sampling": stored.sampling | _settings(words, "sample", "sampling."),
        "training": {kind: _settings(words, kind, f"training.{kind}.") for kind in TRAINED_BY_ROUNDS},
        "triggers_on": words.get("triggers_on") == "on",
        "trigger_labels": number_of(words.get("trigger_labels", "")),
        "trigger_hours": number_of(words.get("trigger_hours", "")),
    }
    if "base_model" in words:  # the page shows no such field once the model is fixed
        values["base_model"] = words["base_model"]
    return cast(ProjectValues, values)


def _settings(words: Words, kind: str, prefix: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for field in config_fields(kind):
        text = words.get(prefix + field.name, "").strip()
        if text:
            settings[field.name] = text == "on" if field.is_switch else number_of(text) if field.is_number else text
    return settings


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
