from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.prompts.twins.sketch import BYTES, NEAR, bands, likeness, sketch_of


def drawn(text: str, before: str = "") -> bytes:
    earlier = [{"role": "system", "content": before}] if before else []
    return sketch_of([*earlier, {"role": "user", "content": text}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Why is the sky blue?", "WHY is the sky\n blue"),
        ("Explain to a six-year-old why the sky is blue.", "Explain to a six year old why the sky is blue, please."),
        ("天空為什麼是藍的？請用簡單的話說明。", "天空為什麼是藍的?請你用簡單的話說明"),
    ],
)
def test_nearly_the_same_words_are_near_in_any_script(one: str, other: str) -> None:
    assert likeness(drawn(one), drawn(other)) >= NEAR
    assert set(bands(drawn(one))) & set(bands(drawn(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Write a poem about cats", "Write a poem about dogs"),
        ("What is 7 times 8? Show how you get there.", "What is 7 times 9? Show how you get there."),
        ("天空為什麼是藍的？", "海水為什麼是鹹的？"),
        ("C", "C++"),
        ("?", "!"),
    ],
)
def test_other_questions_are_not_near(one: str, other: str) -> None:
    assert likeness(drawn(one), drawn(other)) < NEAR


def test_the_same_question_after_other_words_is_another_prompt() -> None:
    assert likeness(drawn("And why is that?", "You are a poet."), drawn("And why is that?", "You are a judge.")) == 0


def test_the_sketch_is_the_same_on_every_machine() -> None:
    assert drawn("Why do cats purr?").hex()[:48] == "7d927f4a36f0e563df0781fcf5565f2b6933618a3785e686"


@given(st.text(min_size=1))
def test_every_text_has_a_sketch(text: str) -> None:
    assert len(drawn(text)) == BYTES


def test_equal_places_estimate_what_both_sets_have_in_common() -> None:
    """Two texts of random letters that share a beginning: the Jaccard index of their runs, counted, beside the estimate."""
    draw = random.Random(7)
    errors = []
    for _ in range(40):
        shared, *ends = ("".join(draw.choices("abcdefghijklmnop", k=size)) for size in (900, 100, 100))
        one, other = (shared + end for end in ends)
        runs, others = ({f" {text} "[at : at + 3] for at in range(len(text))} for text in (one, other))
        errors.append(likeness(drawn(one), drawn(other)) - len(runs & others) / len(runs | others))
    assert abs(sum(errors) / len(errors)) < 0.03
    assert max(map(abs, errors)) < 0.2
