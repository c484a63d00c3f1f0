from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exports.csv_text import csv_lines, plain_cell


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "|", "%", "\t", "\uff1d"])
def test_a_formula_becomes_text(first: str) -> None:
    assert plain_cell(first + "1+1") == "'" + first + "1+1"


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\u200b", "\ufeff", "\x00", " \t "])
def test_space_of_any_kind_hides_no_formula(blank: str) -> None:
    assert plain_cell(blank + "=1+1") == "'" + blank + "=1+1"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\x85", "\u2028", "\n\n \n"])
def test_every_physical_line_is_looked_at(end: str) -> None:
    made = plain_cell(f"Hello{end}=1+1")
    assert made.startswith("Hello")
    assert "'" in made
    assert not re.search(r"(^|[\n\r\v\x85\u2028])[\s]*=", made)


def test_plain_words_stay_as_they_are() -> None:
    text = "Two lines:\n1 + 1 = 2, mail me at a@b.c\n(100% sure)"
    assert plain_cell(text) == text


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert csv_lines([["a", -3, 0.5, True, None]]) == "a,-3,0.5,true,\r\n"


@given(st.lists(st.lists(st.text(), min_size=2, max_size=4), min_size=1, max_size=5))
def test_no_line_of_the_file_starts_a_formula(rows: list[list[str]]) -> None:
    made = csv_lines(rows)
    for cells in csv.reader(io.StringIO(made, newline="")):
        for cell in cells:
            for line in cell.splitlines():
                assert not line.lstrip().startswith(("=", "+", "-", "@", "|", "%"))
