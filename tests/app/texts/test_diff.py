"""What changed between two texts: words inside lines, gaps where nothing did, and an end in time whatever the text."""

from __future__ import annotations

import random
import time

from app.texts.diff import changed_lines, unified

BEFORE = "One.\nTwo.\nPrefer the true answer.\nFour.\nFive.\nSix."
AFTER = "One.\nTwo.\nPrefer the kind, true answer.\nAnd a new line.\nFour.\nFive.\nSix."


def shown(before: str, after: str) -> list[str]:
    marks = {"same": "", "gone": "-", "new": "+"}
    return ["".join(f"{marks[piece.kind]}[{piece.text}]" for piece in line.pieces) for line in changed_lines(before, after)]


def test_changed_words_stand_between_those_that_stayed() -> None:
    assert shown(BEFORE, AFTER) == [
        "",
        "[Two.]",
        "[Prefer the ]+[kind, ][true answer.]",
        "+[And a new line.]",
        "[Four.]",
        "",
    ]


def test_what_went_and_what_came_are_told_apart() -> None:
    assert shown("Be brief.", "Be kind.") == ["[Be ]-[brief]+[kind][.]"]
    assert shown("It is true.", "It is true, and kind.") == ["[It is true]+[, and kind][.]"]
    assert shown("答案要真。", "答案要真又短。") == ["[答案要真]+[又短][。]"]
    assert shown("", "New.") == ["+[New.]"]
    assert shown("Old.", "") == ["-[Old.]"]
    assert shown(BEFORE, BEFORE) == []


def test_both_texts_can_be_read_out_of_the_difference() -> None:
    draw = random.Random(7)
    for _ in range(200):
        before, after = ("".join(draw.choice("ab ") for _ in range(12)) for _ in range(2))
        pieces = [piece for line in changed_lines(before, after) for piece in line.pieces]
        if before != after:
            assert "".join(piece.text for piece in pieces if piece.kind != "new") == before
            assert "".join(piece.text for piece in pieces if piece.kind != "gone") == after


def test_a_hostile_text_is_compared_in_time() -> None:
    draw = random.Random(1)
    for separator, count in (("\n", 599), (" ", 599), ("\n", 9_999), (" ", 9_999)):
        before, after = (separator.join(draw.choice("ab") for _ in range(count)) for _ in range(2))
        began = time.thread_time()  # of this thread: a server of another test may still be ending
        assert changed_lines(before, after)
        assert unified(before, after, ("before", "after"))
        assert time.thread_time() - began < 2.0
