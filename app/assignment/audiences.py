"""For whom a prompt is: a language and skills, as one word, and which of those words keep a prompt from a person. Pure.

A project knows the few words that its prompts have, so that a claim compares one text with another and looks nothing up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from unicodedata import category

from babel import Locale

from app.language.languages import _
from app.models.values import Unusable, plain_text

MOST_AUDIENCES: Final = 200  # of one project
MOST_SKILLS: Final = 10
MOST_TAGS: Final = 20
MOST_LANGUAGES: Final = 20
LONGEST: Final = 40  # characters of a skill or a tag
ANY: Final = "*"  # language
NO_LANGUAGE: Final = frozenset({"und", "mul", "zxx", "root"})  # codes of what is not known, several, none

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,4}", re.IGNORECASE)


def audience(language: str | None, skills: Sequence[str]) -> str | None:
    """The word of such prompts: `zh-Hant law`; none of those that are for everybody. Both are given as they are stored."""
    return None if language is None and not skills else " ".join((language or ANY, *sorted(skills)))


def kept_from(audiences: Iterable[str], languages: Sequence[str], skills: Sequence[str]) -> str:
    """Those of a project's audiences to which this person does not belong, a line each between line ends; empty for none.

    Who has said no language is asked in all of them; a skill that nobody said of them they do not have.
    """
    kept = [word for word in audiences if not belongs(word, languages, skills)]
    return "\n".join(("", *kept, "")) if kept else ""


def belongs(word: str, languages: Sequence[str], skills: Sequence[str]) -> bool:
    language, *needed = word.split(" ")
    return (language == ANY or not languages or any(_covers(one, language) for one in languages)) and set(needed) <= set(skills)


def _covers(known: str, asked: str) -> bool:
    """Whether who knows this language reads that: `zh` covers `zh-Hant`, as ranges of languages do (RFC 4647, 3.3.1)."""
    return asked == known or asked.startswith(known + "-")


def checked_language(value: Any) -> str:
    """A tag of BCP 47 as it is written: `en`, `zh-Hant`, `pt-BR`. Raises Unusable."""
    text = plain_text(value, 35).strip().replace("_", "-")
    if not _LANGUAGE.fullmatch(text):
        raise Unusable(_("A language is a tag such as en, de or zh-Hant."))
    first, *rest = text.split("-")
    return "-".join([first.lower(), *(_subtag(one) for one in rest)])


def language_named(value: Any) -> str | None:
    """A tag, or the English name of a language, as published sets write it ("English", "Simplified Chinese"); none for what is
    neither.
    """
    named = _tags_by_name().get(value.strip().casefold()) if isinstance(value, str) else None
    try:
        tag = checked_language(value if named is None else named)
    except Unusable:
        return None
    return None if tag in NO_LANGUAGE else tag


@lru_cache(maxsize=1)
def _tags_by_name() -> Mapping[str, str]:
    return {name.casefold(): tag for tag, name in Locale("en").languages.items() if tag not in NO_LANGUAGE}


def _subtag(text: str) -> str:
    if len(text) == 4 and text.isalpha():
        return text.title()  # a script
    return text.upper() if len(text) == 2 else text.lower()  # a region, and whatever else there is


def checked_languages(values: Any) -> list[str]:
    return _distinct([checked_language(one) for one in words_of(values)], MOST_LANGUAGES)


def checked_skills(values: Any) -> list[str]:
    return _distinct([_short(one) for one in words_of(values)], MOST_SKILLS)


def checked_tags(values: Any) -> list[str]:
    return _distinct([_short(one) for one in words_of(values)], MOST_TAGS)


def words_of(values: Any) -> list[str]:
    """A list, or a text whose words stand between commas or semicolons. Raises Unusable."""
    if isinstance(values, str):
        values = re.split(r"[,;，；、\n]", values)
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise Unusable(_("This is a list of words, or a text with commas between them."))
    return [one for one in values if one.strip()]


def _short(value: str) -> str:
    """A skill or a tag: small letters and digits of any script, hyphens inside. Spaces become hyphens."""
    text = "-".join(plain_text(value, 200).casefold().split())
    if len(text) > LONGEST or not all(_is_word(part) for part in text.split("-")):
        raise Unusable(
            _("“%(word)s” has more than letters, digits and hyphens, or is longer than %(most)s.", word=value[:50], most=LONGEST)
        )
    return text


def _is_word(text: str) -> bool:
    """Letters and digits; many scripts write vowels as marks on these."""
    return bool(text) and text[0].isalnum() and all(one.isalnum() or category(one) in ("Mn", "Mc") for one in text)


def _distinct(words: list[str], most: int) -> list[str]:
    found = sorted(set(words))
    if len(found) > most:
        raise Unusable(_("More than %(most)s are too many.", most=most))
    return found
