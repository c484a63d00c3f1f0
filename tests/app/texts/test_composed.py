from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from app.texts.composed import LONGEST_RUN, composed

# Of several classes, some of which fall apart into others, and letters that take them in.
MARKS = "\u0315\u0300\u0344\u0345\u0f71\u0f72\u0f73\u302a\u1ab0\u0308\u0301\u09bc"


@given(st.text())
def test_it_is_the_composed_form_of_unicode(text: str) -> None:
    assert composed(text) == unicodedata.normalize("NFC", text)


@given(st.lists(st.tuples(st.sampled_from("aé\u0958中 "), st.text(MARKS, min_size=LONGEST_RUN - 5, max_size=99)), max_size=3))
def test_however_many_marks_a_letter_has(letters: list[tuple[str, str]]) -> None:
    text = "".join(map("".join, letters))
    assert composed(text) == unicodedata.normalize("NFC", text)
