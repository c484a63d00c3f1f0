"""For whom a prompt is, from its language and skills and those of people."""

from __future__ import annotations

from typing import Any

import pytest

from app.assignment.audiences import (
    audience,
    belongs,
    checked_language,
    checked_languages,
    checked_skills,
    kept_from,
    language_named,
)
from app.models.values import Unusable


@pytest.mark.parametrize(
    ("language", "skills", "word"),
    [(None, [], None), ("zh-Hant", [], "zh-Hant"), (None, ["law"], "* law"), ("de", ["medicine", "law"], "de law medicine")],
)
def test_language_and_skills_make_one_word(language: str | None, skills: list[str], word: str | None) -> None:
    assert audience(language, skills) == word


@pytest.mark.parametrize(
    ("word", "languages", "skills", "does"),
    [
        ("en", [], [], True),  # who has said no language is asked in all
        ("en", ["de", "en"], [], True),
        ("en", ["de"], [], False),
        ("en-GB", ["en"], [], True),  # who reads English reads that of a country
        ("en", ["en-GB"], [], False),
        ("eng", ["en"], [], False),
        ("zh-Hans", ["zh-Hant"], [], False),
        ("* law", [], [], False),
        ("* law", ["de"], ["law"], True),
        ("* law medicine", [], ["law"], False),
        ("de law", ["en"], ["law"], False),
    ],
)
def test_who_belongs(word: str, languages: list[str], skills: list[str], does: bool) -> None:
    assert belongs(word, languages, skills) is does
    assert kept_from([word], languages, skills) == ("" if does else f"\n{word}\n")


@pytest.mark.parametrize(
    ("given", "stored"), [("EN", "en"), ("zh_hant_tw", "zh-Hant-TW"), (" pt-br ", "pt-BR"), ("sl-Rozaj", "sl-rozaj")]
)
def test_a_language_is_written_in_one_way(given: str, stored: str) -> None:
    assert checked_language(given) == stored


@pytest.mark.parametrize("given", ["English", "e", "en US", "%", "en-", 7])
def test_what_is_no_language_is_said_so(given: Any) -> None:
    with pytest.raises(Unusable):
        checked_language(given)


@pytest.mark.parametrize(
    ("given", "tag"),
    [
        ("English", "en"),  # as WildChat and LMSYS write it
        (" simplified chinese", "zh-Hans"),
        ("Portuguese", "pt"),
        ("zh_TW", "zh-TW"),
        ("Unknown language", None),
        ("und", None),
        ("Klingonish", None),
        ("", None),
        (None, None),
        ({"a": 1}, None),
        ("x" * 100, None),
    ],
)
def test_published_sets_name_languages_in_english(given: Any, tag: str | None) -> None:
    assert language_named(given) == tag


def test_lists_are_read_from_texts_too() -> None:
    assert checked_languages("en, zh-hant；en") == ["en", "zh-Hant"]
    assert checked_skills(["Contract  Law", "醫學"]) == ["contract-law", "醫學"]
    assert checked_skills("") == []


@pytest.mark.parametrize("word", ["चिकित्सा", "การแพทย์", "ⵜⴰⵙⵏⴰⵊⵜ", "c2"])
def test_a_skill_is_a_word_of_any_script(word: str) -> None:
    assert checked_skills([word]) == [word]


@pytest.mark.parametrize("given", ["a_b", "100%", "a\nb%", "x" * 41, [1], {"a": 1}, [f"s{n}" for n in range(11)]])
def test_what_is_no_skill_is_said_so(given: Any) -> None:
    with pytest.raises(Unusable):
        checked_skills(given)
