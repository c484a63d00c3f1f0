"""What a model outside is asked, and what is read of its replies, of odd ones too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainer.contract.english import english
from trainer.contract.outside.chat import (
    MOST_CHARACTERS,
    Answer,
    question,
    read_answer,
    read_piece,
    wants_other_limit,
    why_refused,
)


def reply(content: Any, finish: Any = "stop", **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": finish}], **more}).encode()


def test_a_conversation_goes_with_the_sampling_of_our_own_answers_and_nothing_else() -> None:
    messages = [{"role": "user", "content": "東?", "name": "Ada"}]
    assert json.loads(question(messages, model="m", temperature=0.7, most_tokens=64)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "東?"}],
        "temperature": 0.7,
        "max_tokens": 64,
    }


def test_an_answer_is_made_a_text_as_ours_are() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert read_answer(reply("\n\n Hello,\r\nyou. \n", usage=usage)) == Answer("Hello,\nyou.", "eos", 3, 2)
    assert read_answer(reply("Hello, yo", "length")) == Answer("Hello, yo", "length", 0, 0)
    assert read_answer(reply("No.", "content_filter")).finish_reason == "eos"
    long = read_answer(reply("a" * (MOST_CHARACTERS + 1)))
    assert (len(long.text), long.finish_reason) == (MOST_CHARACTERS, "length")


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [3]}',
        b'{"choices": [{"message": "x"}]}',
        reply(None),
        reply([1]),
    ],
)
def test_a_reply_that_is_none_of_a_chat_holds_no_text(odd: bytes) -> None:
    assert read_answer(odd).text == ""


def test_what_it_counted_is_believed_only_where_it_is_a_number() -> None:
    for odd in (None, 3, {"prompt_tokens": -1, "completion_tokens": True}, {"prompt_tokens": "7"}, {"prompt_tokens": 2**60}):
        assert read_answer(reply("x", usage=odd)) == Answer("x", "eos", 0, 0)


def test_the_newer_name_of_the_length_limit_is_heard_once() -> None:
    said = b"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    assert wants_other_limit("max_tokens", said)
    assert not wants_other_limit("max_completion_tokens", said)
    assert not wants_other_limit("max_tokens", b"max_tokens is too large")


def test_a_refusal_is_told_in_its_own_words_without_the_key() -> None:
    told = json.dumps({"error": {"message": "Incorrect API key\nprovided: s3cret."}}).encode()
    assert english(why_refused(401, told, "s3cret")) == "It replied with status 401: Incorrect API key provided: …."
    assert "s3c" not in english(why_refused(401, json.dumps({"error": "." * 297 + "s3cret"}).encode(), "s3cret")), (
        "nor a part of it"
    )
    assert english(why_refused(404, b'{"error": "no such model"}', None)) == "It replied with status 404: no such model"
    assert english(why_refused(400, b"<html>", None)) == "It replied with status 400."


def test_a_streamed_reply_is_read_line_by_line() -> None:
    lines = [
        b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}\n',
        b"\n",
        b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n',
        b'data: {"choices": [{"delta": {"content": "lo"}}]}\n',
        b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n',
        b'data: {"choices": [], "usage": {}}\n',
        b"data: [DONE]\n",
        b": a comment\n",
    ]
    pieces = [read_piece(line) for line in lines]
    assert "".join(piece.text for piece in pieces) == "Hello"
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["eos"]
    assert read_piece(b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}').finish_reason == "length"
