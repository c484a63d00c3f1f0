from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.texts.spreadsheet_cells import original_cell, plain_cell


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "|", "%", "\t", "\uff1d"])
def test_a_formula_becomes_text(first: str) -> None:
    assert plain_cell(first + "1+1") == "'" + first + "1+1"


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\u200b", "\ufeff", "\x00", '"', "'", ' " '])
def test_space_of_any_kind_hides_no_formula(blank: str) -> None:
    assert plain_cell(blank + "=1+1") == "'" + blank + "=1+1"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\x85", "\u2028", "\n\n \n"])
def test_every_physical_line_is_looked_at(end: str) -> None:
    made = plain_cell(f"Hello{end}=1+1")
    assert made.startswith("Hello")
    assert "'" in made
    assert not re.search(r"(^|[\n\r\v\x85\u2028])[\s]*=", made)


@pytest.mark.parametrize("between", [";", "\t", "; ", ";\t", ';"', "a\n;", "a;\u200b"])
def test_a_formula_behind_what_a_spreadsheet_may_split_at_becomes_text(between: str) -> None:
    (line,) = plain_cell(f"Name{between}=1+1").splitlines()[-1:]
    assert re.fullmatch("""[^=]*'[ "\u200b]*=1\\+1""", line)
    assert plain_cell("（一;二）\t三;-") == "（一;二）\t三;'-"


@given(st.text() | st.text("ab=;\t\n\r\"' ,-+@中\u200b\u2028\uff1d"))
def test_the_text_can_be_read_back(text: str) -> None:
    assert original_cell(plain_cell(text)) == text


def test_plain_words_stay_as_they_are() -> None:
    text = "Two lines:\n1 + 1 = 2, mail me at a@b.c\n(100% sure)"
    assert plain_cell(text) == text
