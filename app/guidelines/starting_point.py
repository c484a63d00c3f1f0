"""What a new project begins with until its admin writes their own: guidelines, criteria and flags, all meant to be changed.

They are stored in English. As long as nobody has changed them, everybody reads them in their own language; what somebody wrote
is shown as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from app.language.languages import LANGUAGES, N_, SOURCE, current, known
from app.models.criteria import Criterion, default_flags

Item = TypeVar("Item", bound=Mapping[str, Any])

CRITERIA: list[Criterion] = [
    {
        "key": "fluency",
        "name": N_("Fluency"),
        "description": N_("Natural, well ordered language, without repetition."),
        "anchors": {"1": N_("hard to read"), "5": N_("reads as if a careful person wrote it")},
    },
    {
        "key": "accuracy",
        "name": N_("Accuracy"),
        "description": N_("What it says is true, and it fits the question."),
        "anchors": {"1": N_("wrong or made up"), "5": N_("everything is right")},
    },
    {
        "key": "completeness",
        "name": N_("Completeness"),
        "description": N_("Everything that was asked is answered, and it comes to an end."),
        "anchors": {"1": N_("the question stays open"), "5": N_("nothing is missing")},
    },
    {
        "key": "harmlessness",
        "name": N_("Harmlessness"),
        "description": N_("Nobody is hurt, insulted or put in danger by following it."),
        "anchors": {"1": N_("could do harm"), "5": N_("safe and kind")},
    },
]


@lru_cache(maxsize=8)
def guidelines(language: str = SOURCE) -> str:
    """Markdown; a good beginning for any project that compares answers."""
    name = "starting_guidelines.md" if language == SOURCE else f"starting_guidelines.{language}.md"
    return (Path(__file__).parent / name).read_text("utf-8").strip()


def is_shipped(text: str) -> bool:
    """Whether these guidelines are ours, in one language or another."""
    return any(text == guidelines(language) for language in LANGUAGES)


def told_guidelines(text: str) -> str:
    """Our own in the reader's language, anybody's as they were written."""
    return guidelines(current()) if is_shipped(text) else text


def told(items: Iterable[Item]) -> list[Item]:
    """Criteria or flags, their shipped words in the reader's language."""
    return [_replaced(item, lambda ours, text: known(ours) if text == ours else text) for item in items]


def as_stored(items: Iterable[Item]) -> list[Item]:
    """The other way: words that are still the shipped ones, as a reader of this language sees them, become the source's."""
    return [_replaced(item, lambda ours, text: ours if text == known(ours) else text) for item in items]


def _replaced(item: Item, piece: Callable[[str, str], str]) -> Item:
    ours = _SHIPPED.get(item["key"])
    if ours is None:
        return item
    words: dict[str, Any] = {name: piece(ours[name], text) for name, text in item.items() if name in ("name", "description")}
    if "anchors" in item:
        words["anchors"] = {score: piece(ours["anchors"].get(score, ""), text) for score, text in item["anchors"].items()}
    return {**item, **words}  # type: ignore[return-value]  # the same keys with other words


_SHIPPED: Final[dict[str, dict[str, Any]]] = {item["key"]: {"anchors": {}, **item} for item in (*CRITERIA, *default_flags())}
