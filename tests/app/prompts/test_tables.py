from __future__ import annotations

import json

import pytest

from app.prompts.conversations import prompt_row
from app.prompts.service import PromptRow
from app.prompts.tables import is_table, looks_like_table, read_table


def texts(text: str) -> list[str]:
    return [
        row.messages[-1]["content"] if isinstance(row, PromptRow) else f"{row.line}: {row.why}"
        for row in read_table(text, prompt_row)
    ]


def test_a_row_is_numbered_by_the_line_it_starts_on() -> None:
    found = texts('external_id,text\n1,"two\nlines?"\n2,\n3,"two\nmore",too many\n4,Last?\n')
    assert found == [
        "two\nlines?",
        "4: The cell of the prompt is empty.",
        "5: This has more cells (3) than the first line names columns (2).",
        "Last?",
    ]


def test_a_column_may_hold_messages() -> None:
    messages = json.dumps([{"role": "user", "content": "Hi?"}]).replace('"', '""')
    assert texts(f'messages\n"{messages}"\nnot json\n') == ["Hi?", "3: The column messages must hold a JSON list of messages."]


def test_a_table_without_a_known_column_says_what_to_do() -> None:
    assert texts("question\nWhy?\n") == ["1: The first line must name the columns, one of them text, prompt or messages."]


def test_a_stray_quotation_mark_ends_the_table() -> None:
    found = texts('text\nOne?\n"Two"x\nThree?\n')
    assert found[0] == "One?"
    assert found[1].startswith("3: This is not CSV")


def test_a_cell_nobody_reads_may_be_as_long_as_it_likes() -> None:
    rows = list(read_table(f"prompt,response\nOne?,short\nTwo?,{'x' * 140_000}\nThree?,z\n", prompt_row))
    assert [(row.messages[0]["content"], row.left_out) for row in rows if isinstance(row, PromptRow)] == [
        ("One?", ()),
        ("Two?", ('"response"',)),
        ("Three?", ()),
    ]


def test_a_prompt_that_is_too_long_costs_no_other_row() -> None:
    assert texts(f"prompt,response\nOne?,short\n{'x' * 140_000},y\nThree?,z\n") == [
        "One?",
        "3: This is longer than 20,000 characters.",
        "Three?",
    ]


def test_a_spreadsheet_may_part_its_cells_by_semicolons_or_tabs() -> None:
    assert texts('id;prompt\r\n1;"Warum; wozu?"\r\n') == ["Warum; wozu?"]
    assert texts("id\tPrompt\n1\tWhy, though?\n") == ["Why, though?"]
    assert texts("sep=;\r\nid;prompt\r\n1;A,B?\r\n2;\r\n") == ["A,B?", "4: The cell of the prompt is empty."]


def test_one_column_may_hold_commas() -> None:
    assert texts("prompt\nName a prime, above 10.\nWhy?\n") == ["Name a prime, above 10.", "Why?"]


def test_other_columns_come_along() -> None:
    (row,) = read_table("Prompt,Topic,,id\nWhy?,Sky,lost,7\n", prompt_row)
    assert isinstance(row, PromptRow)
    assert row.extra == {"Topic": "Sky", "id": "7"}


@pytest.mark.parametrize("text", ["id,prompt\n1,Why?", "prompt\nWhy?", 'sep=;\nid;text\n1;"a;b"'])
def test_a_known_column_makes_a_table(text: str) -> None:
    assert is_table(text)


@pytest.mark.parametrize("text", ["prompt", "Text, please: write one\nWhy?", "Why?\nprompt", "Hello, world\nGood day, all"])
def test_a_sentence_makes_no_table(text: str) -> None:
    assert not is_table(text)
    assert not looks_like_table(text)


@pytest.mark.parametrize("text", ["id,question\n1,Why?\n2,How?", "1\tWhy?\n2\tHow?", "id;Frage\n1;Warum?"])
def test_columns_we_do_not_know_look_like_a_table(text: str) -> None:
    assert not is_table(text)
    assert looks_like_table(text)


def test_indented_lines_do_not_look_like_a_table() -> None:
    assert not looks_like_table("\tgcc -o a a.c\n\tmake\n")
