"""Hidden preferences, on answers that SmolLM2-135M-Instruct wrote (48 tokens, T 0.7): six for each of twelve demo prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.preferences import PREFERENCES, concise, find, hedging, plain_words, second_person, structured, tie_share

ANSWERS: dict[str, list[str]] = json.loads((Path(__file__).parent / "answers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PREFERENCES)
def test_fewer_than_a_fifth_of_pairs_tie(name: str) -> None:
    assert tie_share(PREFERENCES[name], ANSWERS.items()) < 0.2


def test_a_preference_that_mostly_ties_is_seen() -> None:
    assert tie_share(lambda _prompt, text: float("zebra" in text), ANSWERS.items()) > 0.9
    with pytest.raises(ValueError, match="at least one prompt"):
        tie_share(concise, [])


def test_each_prefers_what_its_name_says() -> None:
    assert concise("", "Rain.") > concise("", "It rains.") > concise("", "Rain falls from clouds.")
    assert (
        second_person("", "You can try it yourself.")
        > second_person("", "Some try it.")
        > second_person("", "They say it is theirs.")
    )
    assert second_person("", "you’re right") == second_person("", "you're right")
    assert (
        structured("", "Buy:\n- milk\n- bread") > structured("", "Buy milk.\nBuy bread.") > structured("", "Buy milk and bread")
    )
    assert hedging("", "It may rain.") > hedging("", "Rain falls.") > hedging("", "It always rains.")
    assert plain_words("", "We go home now.") > plain_words("", "Considerable deliberation necessitates patience.")


def test_an_empty_answer_has_a_score() -> None:
    assert all(isinstance(score("", ""), float) for score in PREFERENCES.values())


def test_anybodys_preference_plugs_in_by_name() -> None:
    assert find("concise") is concise
    assert find("bench.preferences:structured") is structured
    with pytest.raises(ValueError, match="one of concise, second_person, structured, plain_words, hedging, or module:function"):
        find("polite")
