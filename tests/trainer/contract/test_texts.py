"""What people wrote, as text: encodings, lines, ends."""

from __future__ import annotations

import pytest

from trainer.contract.folder import Refused
from trainer.contract.texts import json_lines, said, text_of, trimmed


def test_a_mark_is_dropped_and_lines_end_alike() -> None:
    assert text_of("a.txt", "\ufeffé\r\nz\n".encode()) == "é\nz\n"


@pytest.mark.parametrize(("encoding", "line"), [("utf-16", 1), ("utf-16-le", 1), ("utf-16-be", 1), ("utf-32", 1), ("cp1252", 3)])
def test_another_encoding_is_refused_with_the_line(encoding: str, line: int) -> None:
    with pytest.raises(Refused, match=f"^a.txt is not UTF-8: line {line}$"):
        text_of("a.txt", "One\n\nThe fox’s\nden".encode(encoding))


def test_rows_come_with_the_numbers_of_their_lines() -> None:
    lines = ["\ufeff{}\n".encode(), b"\n", b"[1]\r\n"]
    assert list(json_lines("a.jsonl", lines)) == [(1, {}), (3, [1])]


@pytest.mark.parametrize("bad", [b"{", b"[" * 100_000, b"1" * 5000, b'{"a": 1} {}'])
def test_a_line_that_is_no_json_is_refused_with_its_number(bad: bytes) -> None:
    with pytest.raises(Refused, match=r"^a.jsonl, line 3: this is not JSON"):
        list(json_lines("a.jsonl", [b"{}\n", b"\n", bad]))


def test_a_line_that_is_not_utf_8_is_refused_with_its_number() -> None:
    with pytest.raises(Refused, match=r"^a.jsonl is not UTF-8: line 2$"):
        list(json_lines("a.jsonl", [b'"a"\n', b'"\xe9"\n']))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    return x\n", "    return x"),
        ("\n\n\tmake", "\tmake"),
        ("  \r\n \n  one\n\n  two  \n", "  one\n\n  two"),
        ("one", "one"),
        (" \n\t ", ""),
        ("", ""),
    ],
)
def test_blank_lines_go_and_the_indent_stays(text: str, kept: str) -> None:
    assert trimmed(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [("    return x\n", "    return x"), ("\n\tmake\n", "\tmake"), (" Hello.", "Hello."), ("Hello.  ", "Hello.")],
)
def test_an_answer_keeps_its_indent(text: str, kept: str) -> None:
    assert said(text) == kept
