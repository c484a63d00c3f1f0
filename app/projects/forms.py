"""The settings page's form: what its fields hold, and what a person's words in them mean.

Numbers that cannot be read stay text, so that the one place that checks values also words the refusal.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_type_hints

from app.models import Project
from app.projects.checks import MAX_CRITERIA, TRAINED_BY_ROUNDS
from app.projects.service import ProjectValues
from app.vocabulary import Criterion
from trainer.config import CONFIGS, SampleConfig

Words = dict[str, str]  # field name -> what stands in the field

_LABELS = {"overlap": "Labels per task", "rating_share": "Ratings", "queue_low_mark": "Refill below", "triggers_on": "Rounds"}
_CRITERION_PARTS = ("key", "name", "description", "anchor1", "anchor5")


@dataclass(frozen=True)
class ConfigField:
    """One field of trainer.config, as a form shows it."""

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
            label=field.name.replace("_", " ").capitalize(),
            help=field.metadata["help"],
            unit=field.metadata["unit"],
            default=_word(field.default),
            choices=[(word, word) for word in (("on", "off") if types[field.name] is bool else field.metadata["choices"])],
            is_switch=types[field.name] is bool,
            is_number=types[field.name] in (int, float),
        )
        for field in dataclasses.fields(CONFIGS[kind])
        if not (kind == "sample" and field.name == "seed")
    ]


def words_of(project: Project, guidelines: str) -> Words:
    """The form as the project stands."""
    sampling = dataclasses.asdict(SampleConfig()) | project.sampling
    words = {
        "name": project.name,
        "base_model": project.base_model,
        "guidelines": guidelines,
        "seen_guidelines": str(project.guideline_version),
        "overlap": str(project.overlap),
        "rating_share": f"{project.rating_share * 100:g}",
        "queue_low_mark": str(project.queue_low_mark),
        "triggers_on": "on" if project.triggers_on else "",
        "trigger_labels": "" if project.trigger_labels is None else str(project.trigger_labels),
        "trigger_hours": "" if project.trigger_hours is None else f"{project.trigger_hours:g}",
    }
    words |= {f"sampling.{field.name}": _word(sampling[field.name]) for field in config_fields("sample")}
    for kind in TRAINED_BY_ROUNDS:
        words |= {f"training.{kind}.{name}": _word(value) for name, value in project.training.get(kind, {}).items()}
    for number, criterion in enumerate(project.criteria):
        row = (criterion["key"], criterion["name"], criterion["description"], *(criterion["anchors"].get(at, "") for at in "15"))
        words |= {f"criteria.{number}.{part}": text for part, text in zip(_CRITERION_PARTS, row, strict=True)}
    return words


def criteria_rows(words: Words) -> int:
    """Rows of criteria to show: those there are, and one to fill in."""
    filled = [
        number for number in range(MAX_CRITERIA) if any(words.get(f"criteria.{number}.{part}") for part in _CRITERION_PARTS)
    ]
    return min(MAX_CRITERIA, (filled[-1] + 1 if filled else 0) + 1)


def values_of(words: Words, stored: Project) -> ProjectValues:
    """What the filled-in form asks for. A training field left empty falls back to its default."""
    values: dict[str, Any] = {
        "name": words.get("name", ""),
        "guidelines": words.get("guidelines", ""),
        "criteria": _criteria(words),
        "overlap": _number(words.get("overlap", "")),
        "rating_share": _share(words.get("rating_share", "")),
        "queue_low_mark": _number(words.get("queue_low_mark", "")),
        "sampling": stored.sampling | _settings(words, "sample", "sampling."),
        "training": {kind: _settings(words, kind, f"training.{kind}.") for kind in TRAINED_BY_ROUNDS},
        "triggers_on": words.get("triggers_on") == "on",
        "trigger_labels": _number(words.get("trigger_labels", "")),
        "trigger_hours": _number(words.get("trigger_hours", "")),
    }
    if "base_model" in words:  # the page shows no such field once the model is fixed
        values["base_model"] = words["base_model"]
    return cast(ProjectValues, values)


def field_of(name: str) -> str:
    """The form field a refusal belongs to: the API's names differ only where one value is several fields."""
    return "criteria.0.key" if name == "criteria" else name


def labelled(name: str, sentence: str) -> str:
    """A refusal for the list above the form, which says where it belongs."""
    return f"{_LABELS.get(name) or name.rpartition('.')[2].replace('_', ' ').capitalize()}: {sentence}"


def _settings(words: Words, kind: str, prefix: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for field in config_fields(kind):
        text = words.get(prefix + field.name, "").strip()
        if text:
            settings[field.name] = text == "on" if field.is_switch else _number(text) if field.is_number else text
    return settings


def _criteria(words: Words) -> list[Criterion]:
    criteria: list[Criterion] = []
    for number in range(MAX_CRITERIA):
        key, name, description, low, high = (words.get(f"criteria.{number}.{part}", "").strip() for part in _CRITERION_PARTS)
        if key or name or description or low or high:
            anchors = {"1": low, "5": high}
            criteria.append({"key": key or _key_for(name), "name": name, "description": description, "anchors": anchors})
    return criteria


def _key_for(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40]


def _share(text: str) -> Any:
    number = _number(text)
    return number / 100 if isinstance(number, int | float) else number


def _number(text: str) -> int | float | str | None:
    """The number in a field; None when it is empty, and the text itself when it is no number."""
    text = text.strip()
    if not text:
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def read_words(form: Mapping[str, Any]) -> Words:
    """The texts of a submitted form, without files."""
    return {name: text for name, text in form.items() if isinstance(text, str)}
