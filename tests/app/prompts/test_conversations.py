from __future__ import annotations

from typing import Any

import pytest

from app.prompts.conversations import MAX_EXTRA, prompt_row
from app.prompts.service import BadLine, PromptRow


def row(item: Any) -> PromptRow:
    found = prompt_row(1, item)
    assert isinstance(found, PromptRow), found
    return found


def said(item: Any) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in row(item).messages]


def why(item: Any) -> str:
    found = prompt_row(1, item)
    assert isinstance(found, BadLine)
    return found.why


def turn(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"text": " "}, "empty"),
        ({"text": 3}, "must be text"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "\ud800"}, "surrogate"),
        ({"text": "x" * 20_001}, "longer than 20,000"),
        ({}, "either text or messages"),
        ({"text": None}, "either text or messages"),
        ({"text": "a", "messages": []}, "Give one of text, messages"),
        ({"prompt": "a", "instruction": "b"}, "Give one of prompt, instruction"),
        ({"txt": "a"}, 'there is only "txt"'),
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "role must be one of"),
        ({"messages": [{"role": "user"}]}, "role and content"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "last message must be the user's"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "take turns"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "last message"),
        ({"messages": [{"role": "user", "content": "a"}] * 65}, "more than 64"),
        ({"conversations": [turn("gpt", "a"), turn("human", "b")]}, "take turns"),
        ({"conversations": [turn("gpt", "a")]}, "last message"),
        ({"conversations": [turn("tool", "a")]}, "role must be one of"),
        ({"conversations": "a"}, "at least one"),
        ({"instruction": "a", "input": 3}, "must be text"),
        ({"text": "a", "external_id": "x" * 201}, "external_id"),
        ({"text": "a", "external_id": float("nan")}, "external_id"),
        (3, "must be an object"),
        (None, "must be an object"),
    ],
)
def test_every_kind_of_bad_item_has_its_own_sentence(item: object, words: str) -> None:
    assert words in why(item)


def test_an_indent_is_kept_and_blank_lines_around_go() -> None:
    assert said({"text": "    return x\nComplete this."}) == [("user", "    return x\nComplete this.")]
    assert said({"text": "\r\n  \n\tgcc -o a a.c\n \n"}) == [("user", "\tgcc -o a a.c")]
    talk = [("user", "Go on:"), ("assistant", "def f():\n    "), ("user", "    x = 1\n")]
    messages = [{"role": role, "content": content} for role, content in talk]
    assert said({"messages": messages}) == [("user", "Go on:"), ("assistant", "def f():"), ("user", "    x = 1")]


def test_a_prompt_is_a_text_or_messages_as_trainers_take_both() -> None:
    assert said({"prompt": "Why?"}) == [("user", "Why?")]
    assert said({"prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]}) == [
        ("system", "Be kind."),
        ("user", "Why?"),
    ]


def test_alpaca_is_read_as_it_is_published() -> None:
    item = {"instruction": "Translate.", "input": "Hallo", "output": "Hello", "text": "Below is an instruction ..."}
    assert said(item) == [("user", "Translate.\n\nHallo")]
    assert row(item).extra == {"output": "Hello", "text": "Below is an instruction ..."}
    assert said({"instruction": "Count.", "input": ""}) == [("user", "Count.")]


def test_a_conversation_is_read_up_to_its_last_answer_which_is_kept() -> None:
    turns = [turn("system", "Be kind."), turn("human", "Hi"), turn("gpt", "Hello."), turn("human", "Why?"), turn("gpt", "So.")]
    found = row({"id": "a", "conversations": turns})
    assert [message["role"] for message in found.messages] == ["system", "user", "assistant", "user"]
    assert found.extra == {"id": "a", "answer": "So."}
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    assert said({"conversation": asked, "model": "x"}) == [("user", "Hi")]


def test_other_keys_are_kept_as_they_are() -> None:
    item = {"text": "Why?", "external_id": 7, "topic": "sky", "tags": ["a", 1], "score": 0.5, "none": None}
    assert row(item).extra == {"topic": "sky", "tags": ["a", 1], "score": 0.5}
    assert row(item).external_id == "7"


def test_what_is_too_long_or_cannot_be_stored_is_left_out_by_name() -> None:
    item = {"text": "Why?", "long": "x" * MAX_EXTRA, "nan": float("nan"), "nul": "a\0", "half": "\ud800", "topic": "sky"}
    assert row(item).extra == {"topic": "sky"}
    assert row(item).left_out == ('"long"', '"nan"', '"nul"', '"half"')


def test_an_empty_value_of_a_message_is_no_further_key() -> None:
    assert said({"messages": [{"role": "user", "content": "Hi?", "tool_calls": None}]}) == [("user", "Hi?")]
