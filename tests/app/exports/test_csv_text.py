from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exports.csv_text import csv_lines


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert csv_lines([["a", -3, 0.5, True, None]]) == "a,-3,0.5,true,\r\n"


@given(st.lists(st.lists(st.text(), min_size=2, max_size=4), min_size=1, max_size=5))
def test_no_line_of_the_file_starts_a_formula(rows: list[list[str]]) -> None:
    made = csv_lines(rows)
    for cells in csv.reader(io.StringIO(made, newline="")):
        for cell in cells:
            for line in cell.splitlines():
                assert not line.lstrip().startswith(("=", "+", "-", "@", "|", "%"))


@pytest.mark.parametrize("separator", [";", "\t"])
@given(rows=st.lists(st.lists(st.text("ab=;\t\n\r\"' ,-+@中\u200b\u2028\uff1d"), min_size=2, max_size=4), min_size=1, max_size=4))
def test_no_cell_is_a_formula_wherever_the_file_is_split(separator: str, rows: list[list[str]]) -> None:
    for line in re.split("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", csv_lines(rows)):
        for cell in next(csv.reader([line], delimiter=separator), []):
            assert not cell.strip('"').lstrip(" \u200b\u3000").startswith(("=", "+", "-", "@", "＝"))
