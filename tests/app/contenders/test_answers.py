from __future__ import annotations

import json
from typing import Any

import pytest

from app.contenders.answers import AnswerRow, answer_rows, read_answers
from app.errors import Invalid
from app.prompts.service import BadLine, PromptRow
from tests.app.parquet_files import parquet_file


def read(item: Any) -> list[tuple[Any, str, str]] | str:
    found = answer_rows(1, item)
    if isinstance(found, BadLine):
        return found.why
    return [
        (row.prompt if isinstance(row.prompt, int) else [one["content"] for one in row.prompt.messages], row.text, row.model)
        for row in found
    ]


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        ({"prompt": "Why?"}, ["Why?"]),
        ({"prompt": {"text": "Why?"}}, ["Why?"]),
        ({"prompt": [{"role": "user", "content": "Why?"}]}, ["Why?"]),
        (
            {"prompt": {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]}},
            ["Be kind.", "Why?"],
        ),
        ({"messages": [{"role": "user", "content": "Why?"}]}, ["Why?"]),
        ({"prompt_id": 7}, 7),
        ({"prompt_id": "7"}, 7),
    ],
)
def test_a_prompt_is_said_in_any_of_these_ways(given: dict[str, Any], prompt: Any) -> None:
    assert read({**given, "text": "Because.", "model": "gpt-x"}) == [(prompt, "Because.", "gpt-x")]


def test_answers_are_kept_as_ours_are_so_that_no_end_of_line_tells_whose_they_are() -> None:
    assert read({"prompt": "Why?", "text": "\r\n\r\n One.\r\nTwo. \r\n", "model": " gpt-x "}) == [
        (["Why?"], "One.\nTwo.", "gpt-x")
    ]


def test_published_shapes_are_read_as_they_are() -> None:
    ultra = {
        "source": "x",
        "instruction": "Why?",
        "completions": [{"model": "a", "response": "A."}, {"model": "b", "response": "B."}],
    }
    assert read(ultra) == [(["Why?"], "A.", "a"), (["Why?"], "B.", "b")]
    said = [{"role": "user", "content": "Why?"}]
    arena = {
        "model_a": "a",
        "model_b": "b",
        "winner": "model_a",
        "conversation_a": [*said, {"role": "assistant", "content": "A."}],
        "conversation_b": [*said, {"role": "assistant", "content": "B."}],
    }
    assert read(arena) == [(["Why?"], "A.", "a"), (["Why?"], "B.", "b")]
    share = {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "A."}], "model": "a"}
    assert read(share) == [(["Why?"], "A.", "a")]


GOOD = {"prompt": "Why?", "text": "Because.", "model": "gpt-x"}


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("Why?", "must be an object"),
        ({"prompt": "Why?", "response_a": "A."}, 'There is no text, model here, only "prompt", "response_a".'),
        ({"text": "A.", "model": "a"}, "Give prompt, prompt_id or messages"),
        ({**GOOD, "prompt_id": 3}, "not several"),
        ({**GOOD, "text": "a\0b"}, "text cannot be used: This holds a character that cannot be stored."),
        ({**GOOD, "text": "a\ud800b"}, "text cannot be used: This holds a character that cannot be stored."),
        ({**GOOD, "text": "x" * 20_001}, "text cannot be used: This is longer than 20,000 characters."),
        ({**GOOD, "text": 3}, "text cannot be used: This must be text."),
        ({**GOOD, "text": " \u200b\u202e\n"}, "The text is empty."),
        ({**GOOD, "model": "\u200b"}, "The model has no name."),
        ({**GOOD, "model": "x" * 201}, "model cannot be used: This is longer than 200 characters."),
        ({**GOOD, "prompt": ""}, "The prompt cannot be used: The text is empty."),
        ({**GOOD, "prompt": [{"role": "assistant", "content": "Hi."}]}, "The prompt cannot be used: The last message"),
        ({"prompt_id": True, "text": "A.", "model": "a"}, "must be the number"),
        ({"prompt_id": "9" * 30, "text": "A.", "model": "a"}, "must be the number"),
        ({"prompt_id": -1, "text": "A.", "model": "a"}, "must be the number"),
        ({"instruction": "Why?", "completions": []}, "completions must be"),
        ({"conversations": [{"from": "human", "value": "Why?"}], "model": "a"}, "must end with the model's answer"),
    ],
)
def test_what_cannot_be_used_is_named(item: Any, why: str) -> None:
    found = read(item)
    assert isinstance(found, str)
    assert why in found


def test_tables_and_documents_are_read_and_each_bad_line_has_its_number() -> None:
    rows = read_answers(b'Prompt,Model,text\nWhy?,gpt-x,"Two\nlines."\nHow?,,No name.\n')
    assert isinstance(rows[0], AnswerRow)
    assert isinstance(rows[0].prompt, PromptRow)
    assert (rows[0].line, rows[0].text, rows[0].model) == (2, "Two\nlines.", "gpt-x")
    assert isinstance(rows[1], BadLine)
    assert rows[1].line == 4
    assert len(read_answers(json.dumps({"items": [GOOD, GOOD]}).encode())) == 2


def test_plain_text_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="JSON, JSON Lines, CSV or Parquet"):
        read_answers(b"Why?\nBecause.\n")


def test_datasets_are_read_from_parquet_as_they_are_published() -> None:
    ultrafeedback = [
        {
            "instruction": "Why?",
            "completions": [{"model": name, "response": f"{name} says."} for name in ("a", "b")],
            "score": 0.5,
        }
    ]
    turns = [[{"role": "user", "content": "How?"}, {"role": "assistant", "content": f"So, {side}."}] for side in "ab"]
    battles = [{"model_a": "c", "conversation_a": turns[0], "model_b": "d", "conversation_b": turns[1], "tie": None}]
    for items, models in ((ultrafeedback, ["a", "b"]), (battles, ["c", "d"])):
        rows = read_answers(parquet_file(items))
        assert [row.model for row in rows if isinstance(row, AnswerRow)] == models
        assert rows == [row for line in items for row in read_answers(json.dumps(line).encode())]
