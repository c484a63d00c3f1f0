"""One setting of a run: what a person reads beside it, and what it may be.

Every setting has a label and a help sentence in plain words; those that only somebody of the field will change have no group and
say it in the field's terms. Bounds are part of the setting, so the pages, the API, the command line and a run's folder refuse
the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_type_hints

from trainer.contract.messages import Message

SHARE: Final = "%"  # the unit of a share: kept as 0.25, read and written by people as 25 %
SWITCH: Final = {True: "On", False: "Off"}
MOST_WHOLE: Final = 2**53  # beyond it JSON's readers round

# The groups of the plain settings, in the order of the page.
GROUPS: Final = {
    "answers": "Answers people read",
    "rounds": "When a round starts",
    "learned": "What the reward model learns",
    "change": "How much the model may change",
    "length": "Length",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one field of a config."""

    name: str
    default: Any
    label: str
    help: str
    unit: str
    choices: Mapping[Any, str]  # value -> its words
    least: float | None
    most: float | None
    group: str  # one of GROUPS; none: for experts
    kind: type  # int, float, bool or str

    @property
    def is_for_experts(self) -> bool:
        return not self.group

    @property
    def is_share(self) -> bool:
        return self.unit == SHARE


class ConfigError(ValueError):
    """Settings that cannot be used: `problems` says of each by its name what is wrong with it."""

    def __init__(self, problems: Mapping[str, Message]) -> None:
        super().__init__("; ".join(f"{name}: {message.code}" for name, message in problems.items()))
        self.problems = dict(problems)


def setting(
    default: Any,
    label: str,
    help: str,
    unit: str = "",
    *,
    choices: Mapping[str, str] | None = None,
    least: float | None = None,
    most: float | None = None,
    group: str = "",
) -> Any:
    """A field of a config. Every number has bounds; `group` makes it one of the plain settings."""
    if isinstance(default, bool):
        choices = SWITCH  # type: ignore[assignment]
    elif isinstance(default, int | float) and (least is None or most is None):
        raise TypeError(f"the setting {label!r} needs bounds")
    known = {"label": label, "help": help, "unit": unit, "choices": choices or {}, "least": least, "most": most, "group": group}
    return field(default=default, metadata=known)


def settings_of(config: type[Any]) -> dict[str, Setting]:
    """Name -> setting, in the order in which they were written down."""
    types = get_type_hints(config)
    return {one.name: Setting(one.name, one.default, kind=types[one.name], **one.metadata) for one in dataclasses.fields(config)}


def typed(config: type[Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Message]]:
    """The values that fit their settings, and what is wrong with the others."""
    known = settings_of(config)
    clean: dict[str, Any] = {}
    problems: dict[str, Message] = {}
    for name, given in values.items():
        value, problem = _typed(known[name], given) if name in known else (None, Message("no_such_setting"))
        problem = problem or _outside(known[name], value)
        if problem is None:
            clean[name] = value
        else:
            problems[name] = problem
    return clean, problems


def check(config: Any, contradictions: Iterable[tuple[str, Message]]) -> None:
    """Raises ConfigError with everything that is wrong: what is out of bounds, then what contradicts a setting that is not."""
    problems = {
        name: problem
        for name, one in settings_of(type(config)).items()
        if (problem := _outside(one, getattr(config, name))) is not None
    }
    for name, message in contradictions:
        other = str(message.arguments.get("setting", "")).rpartition(".")[2]
        if name not in problems and other not in problems:
            problems[name] = message
    if problems:
        raise ConfigError(problems)


def weights_by_name(setting: str, text: str, most: float) -> dict[str, float]:
    """Weights from 0 to `most` written "name=1, other=0.5". Raises ConfigError, on this setting, for what cannot be read so."""
    found: dict[str, float] = {}
    for part in filter(str.strip, text.split(",")):
        key, _, weight = (piece.strip() for piece in part.partition("="))
        try:
            found[key] = float(weight)
        except ValueError:
            raise ConfigError({setting: Message("weight_unreadable", part=part.strip())}) from None
        if not key or not 0 <= found[key] <= most:
            raise ConfigError({setting: Message("weight_unusable", part=part.strip(), most=most)})
    return found


_NEEDED = {
    int: Message("must_be_whole"),
    float: Message("must_be_a_number"),
    bool: Message("must_be_a_switch"),
    str: Message("must_be_text"),
}


def _typed(one: Setting, value: Any) -> tuple[Any, Message | None]:
    if one.kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_WHOLE:
        value = float(value)
    return value, None if type(value) is one.kind else _NEEDED[one.kind]


def _outside(one: Setting, value: Any) -> Message | None:
    if one.choices and value not in one.choices:
        return Message("must_be_one_of", choices=", ".join(map(str, one.choices)))
    if one.least is None or one.most is None or one.least <= value <= one.most:  # also false for what is not a number
        return None
    if one.is_share:
        return Message("share_must_lie_between", low=one.least, high=one.most)
    return Message("must_lie_between", least=one.least, most=one.most)
