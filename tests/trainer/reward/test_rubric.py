"""The rubric in a reward run: a question that answers bear out has a head, one answered by chance is left out by name."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.reward.reward_runs import make_folder, prefers_moons, result_of, rewritten
from trainer.contract.english import english
from trainer.contract.messages import from_json
from trainer.files.readable import Unusable
from trainer.reward import run as reward
from trainer.reward.head_files import read_heads
from trainer.reward.rubric import NO, YES, read_rubric


def test_answers_are_read_by_side() -> None:
    row = {"rubric": {"sourced": {"version": 2, "left": "yes", "right": "cannot_say"}, "clear": {"version": 1, "left": "no"}}}
    assert read_rubric(row, ("left", "right")) == {"left": {"sourced": YES, "clear": NO}, "right": {"sourced": None}}
    assert read_rubric({}, ("response",)) == {"response": {}}


def test_a_mark_is_a_yes_where_it_is_good_and_its_lack_where_it_is_bad() -> None:
    marks = [{"start": 0, "end": 2, "reason": "wrong"}, {"start": 1, "end": 3, "reason": "apt"}]
    row = {
        "spans": {"reasons": {"wrong": "bad", "apt": "good"}, "left": marks},
        "rubric": {"sourced": {"version": 1, "left": "yes"}},
    }
    assert read_rubric(row, ("left", "right")) == {
        "left": {"wrong": NO, "apt": YES, "sourced": YES},
        "right": {"wrong": YES, "apt": NO},
    }


def test_a_tone_that_is_none_is_refused() -> None:
    with pytest.raises(Unusable):
        read_rubric({"spans": {"reasons": {"wrong": "ugly"}}}, ("response",))


def test_another_answer_is_refused() -> None:
    with pytest.raises(Unusable):
        read_rubric({"rubric": {"sourced": {"response": "maybe"}}}, ("response",))


def answered(row: dict[str, Any], coin: random.Random) -> list[dict[str, Any]]:
    """Whether there is a moon in it, and a coin; who sees label 0 cannot say."""

    def of(side: str) -> str:
        return "yes" if "moon" in row[side]["text"] else "no"

    moon = {side: "cannot_say" if row["label_id"] == 0 else of(side) for side in ("left", "right")}
    tossed = {side: coin.choice(("yes", "no")) for side in ("left", "right")}
    fine = {"version": 1, "left": "yes"}
    return [row | {"rubric": {"moon": {"version": 1, **moon}, "coin": {"version": 1, **tossed}, "fine": fine}}]


@pytest.mark.parametrize(
    ("weights", "passed", "said"),
    [
        ("overall=1, moon=1, coin=1, fine=1", True, "better than guessing: coin, fine."),
        ("moon=1, never=1", True, "too few labels speak of are left out: never."),
        ("coin=1", False, "no more than guessing might: coin."),
    ],
)
def test_a_planted_question_is_learned_and_noise_is_left_out_by_name(
    tmp_path: Path, simple_lm_folder: Path, weights: str, passed: bool, said: str
) -> None:
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, criteria_weights=weights)
    coin = random.Random(1)
    rewritten(folder, lambda row: answered(row, coin))

    reward.run(folder)

    result = result_of(folder)
    assert result["gate_passed"] is passed
    assert said in english(from_json(result["reason"]))
    moon, tossed, fine = (result["criteria"][key] for key in ("moon", "coin", "fine"))
    assert moon["accuracy_low"] > 0.5
    assert (moon["cannot_say"], moon["rating_pairs"] > 20, moon.get("left_out")) == (2, True, None)
    assert (tossed["left_out"], fine["left_out"], fine["no"]) == (True, True, 0)
    heads = read_heads(folder.file("checkpoint"))
    assert "moon" in heads
    assert not {"coin", "fine"} & heads.keys()


def marked(row: dict[str, Any], coin: random.Random) -> list[dict[str, Any]]:
    """A bad mark wherever there is no moon, and one by chance; the reason "unused" is offered and never given."""
    spans: dict[str, Any] = {"reasons": {"moonless": "bad", "coin": "good", "unused": "good"}}
    for side in ("left", "right"):
        keys = ([] if "moon" in row[side]["text"] else ["moonless"]) + coin.choice(([], ["coin"]))
        spans[side] = [{"start": 0, "end": 3, "reason": key, "quote": row[side]["text"][:3]} for key in keys]
    return [row | {"spans": spans}]


def test_what_is_marked_is_learned_where_held_out_answers_bear_it_out(tmp_path: Path, simple_lm_folder: Path) -> None:
    weights = "overall=1, moonless=1, coin=1, unused=1"
    folder = make_folder(tmp_path / "1", simple_lm_folder, prefers_moons, criteria_weights=weights)
    coin = random.Random(1)
    rewritten(folder, lambda row: marked(row, coin))

    reward.run(folder)

    result = result_of(folder)
    assert "better than guessing: coin, unused." in english(from_json(result["reason"]))
    moonless, tossed, unused = (result["criteria"][key] for key in ("moonless", "coin", "unused"))
    assert moonless["accuracy_low"] > 0.5
    assert (tossed["left_out"], unused["left_out"], unused["yes"]) == (True, True, 0)
    heads = read_heads(folder.file("checkpoint"))
    assert "moonless" in heads
    assert not {"coin", "unused"} & heads.keys()
