from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.prompts import importers
from app.prompts.importers import Format, decode_upload, guess_format, read_items, read_prompts
from app.prompts.service import BadLine, PromptRow


def texts(text: str, format: Format) -> list[str]:
    return [
        row.messages[-1]["content"] if isinstance(row, PromptRow) else f"{row.line}: {row.why}"
        for row in read_prompts(text, format)
    ]


def why(item: object) -> str:
    (row,) = read_items([item])
    assert isinstance(row, BadLine)
    return row.why


def test_plain_text_is_a_prompt_a_line() -> None:
    assert texts("One?\r\n\n  Two?  \nThree?", "text") == ["One?", "Two?", "Three?"]


def test_a_line_separator_inside_a_text_does_not_cut_it() -> None:
    assert texts("One\u2028still one?", "text") == ["One\u2028still one?"]


def test_json_lines_take_texts_and_conversations() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Joke?"}]
    lines = [json.dumps({"text": "One?", "external_id": 7}), json.dumps({"messages": talk})]
    one, two = read_prompts("\n".join(lines), "jsonl")
    assert one == PromptRow(1, [{"role": "user", "content": "One?"}], "7")
    assert isinstance(two, PromptRow)
    assert [message["role"] for message in two.messages] == ["user", "assistant", "user"]


def test_bad_json_names_its_line() -> None:
    found = texts('{"text": "One?"}\n\n{"text": "Two?"\n[1]', "jsonl")
    assert found[0] == "One?"
    assert found[1].startswith("3: This is not JSON: Expecting ',' delimiter at character")
    assert found[2].startswith("4: This must be an object")


def test_csv_is_numbered_by_the_line_a_row_starts_on() -> None:
    found = texts('external_id,text\n1,"two\nlines?"\n2,\n3,"two\nmore",too many\n4,Last?\n', "csv")
    assert found == [
        "two\nlines?",
        "4: Give either text or messages.",
        "5: This has 3 cells, but the first line names 2 columns.",
        "Last?",
    ]


def test_csv_takes_a_column_of_messages() -> None:
    messages = json.dumps([{"role": "user", "content": "Hi?"}]).replace('"', '""')
    assert texts(f'messages\n"{messages}"\nnot json\n', "csv") == [
        "Hi?",
        "3: The column messages must hold a JSON list of messages.",
    ]


def test_csv_without_a_known_column_says_what_to_do() -> None:
    assert texts("question\nWhy?\n", "csv") == ["1: The first line must name the columns, one of them text, prompt or messages."]


def test_csv_with_a_stray_quotation_mark_stops_there() -> None:
    found = texts('text\nOne?\n"Two"x\nThree?\n', "csv")
    assert found[0] == "One?"
    assert found[1].startswith("3: This is not CSV")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"text": " "}, "empty"),
        ({"text": 3}, "must be text"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "\ud800"}, "surrogate"),
        ({"text": "x" * 20_001}, "longer than 20,000"),
        ({}, "either text or messages"),
        ({"text": "a", "messages": []}, "either text or messages"),
        ({"txt": "a"}, '"txt" is not known'),
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "role must be one of"),
        ({"messages": [{"role": "user"}]}, "role and content"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "last message must be the user's"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "take turns"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "last message"),
        ({"messages": [{"role": "user", "content": "a"}] * 65}, "more than 64"),
        ({"text": "a", "external_id": ""}, "external_id"),
        ({"text": "a", "external_id": float("nan")}, "external_id"),
        (None, "must be an object"),
    ],
)
def test_every_kind_of_bad_line_has_its_own_sentence(item: object, words: str) -> None:
    assert words in why(item)


def test_a_file_that_is_not_utf8_names_the_line() -> None:
    with pytest.raises(Invalid, match="line 2"):
        decode_upload("good\nschön".encode("latin-1"))


def test_a_byte_order_mark_is_no_part_of_the_first_prompt() -> None:
    assert decode_upload("\ufeffOne?".encode()) == "One?"


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(Invalid, match="16 MB"):
        decode_upload(b"x" * (importers.MAX_BYTES + 1))


def test_too_many_prompts_are_refused() -> None:
    with pytest.raises(Invalid, match="50,000"):
        list(read_prompts("a\n" * 50_001, "text"))


def test_the_name_of_a_file_tells_its_format() -> None:
    assert [guess_format(name) for name in ("a.JSONL", "b.csv", "c.txt", "d")] == ["jsonl", "csv", "text", "text"]


def test_deeply_nested_json_is_a_bad_line_and_no_crash() -> None:
    assert texts("[" * 100_000, "jsonl")[0].startswith("1: This")


@given(st.text(), st.sampled_from(importers.FORMATS))
def test_no_text_breaks_the_reader(text: str, format: Format) -> None:
    for row in read_prompts(text, format):
        if isinstance(row, PromptRow):
            assert row.messages[-1]["role"] == "user"
            row.messages[-1]["content"].encode()
        else:
            assert row.why
