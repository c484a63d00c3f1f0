"""A text that grows: never half a character, and in the end what a sample run would have stored."""

from __future__ import annotations

import random

import pytest

from trainer.contract.texts import said
from trainer.lm.simple_lm import train_tokenizer
from trainer.serve.growing_text import GrowingText

TEXTS = ["數學很好 🙂 é", "  def f():\n      return '👩‍👩‍👧'  \n\n", "\n\n a\n", " Hello.", "", "\ufffd ok \ufffd"]


def pieces(ids: list[int]) -> list[str]:
    text = GrowingText(train_tokenizer([], 259))
    return [*(text.take(token) for token in ids), text.end()]


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_are_the_answer_as_it_would_be_stored(text: str) -> None:
    ids = train_tokenizer([], 259)(text, add_special_tokens=False)["input_ids"]
    given = pieces(ids)
    assert "".join(given) == said(text)
    assert all(piece.encode().decode() == piece for piece in given)


def test_a_character_comes_whole_with_its_last_byte() -> None:
    ids = train_tokenizer([], 259)("é🙂", add_special_tokens=False)["input_ids"]
    assert pieces(ids) == ["", "é", "", "", "", "🙂", ""]


def test_white_space_at_the_end_is_never_given_out() -> None:
    ids = train_tokenizer([], 259)("a \n b \n", add_special_tokens=False)["input_ids"]
    assert pieces(ids) == ["a", "", "", "", " \n b", "", "", ""]


def test_any_bytes_at_all_come_out_as_the_whole_is_decoded() -> None:
    tokenizer = train_tokenizer([], 259)
    draw = random.Random(0)
    for _ in range(200):
        ids = [draw.randrange(3, 259) for _ in range(draw.randrange(30))]
        assert "".join(pieces(ids)) == said(tokenizer.decode(ids, skip_special_tokens=True))
