"""How the time of a function grows with a text: twice the text, at most two and a half times the time, whatever it is made of."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

CHARACTERS: Final = 5_000
MOST_GROWTH: Final = 2.5
MOST_EIGHTFOLD: Final = 27  # for eight times the text: short of the 64 of a square, and past what a cache that overflows costs
TRIES: Final = 30  # at most, of both sizes in turn: something else may be using the machine
LEAST_TRIES: Final = 3  # of eight times the text, and more for as long as PATIENCE_S: a square is past the bound each time
PATIENCE_S: Final = 2.0
NOTHING_S: Final = 0.0005  # a shorter time says nothing about growth

# What a text is made of, again and again.
PIECES: Final = (
    *("\n", "\r\n", "\r", "\n \n", " ", "\t", "\n\t", " \n ", "\u2028", "\u3000", "\n\u200b", "; ", ";\t", "a\tb\n", "text;b\n"),
    *("`", "`` ` ", "```\n", "``` java\n\n", "[", "[](", "[a](b) ", "![", "[a]: b\n", "(", ")", "{", '{"a":', "[[1,", "]"),
    *("*", "*a **b ", "a**a*", "_a", "|", "|a|b\n|-|-\n", "$", "$$\n", "\\(", "\\[\n", "\\", "~", "~~a", "# ", "=\na\n", "-"),
    *('"', "'", "\"'", '""', '\\"', "=", "=1+1\n", "<", "<a href='x'>", "<!--", "&amp;", "&", "<http://a>", ":", "%", "@"),
    *("> ", "> a\n", "- ", "- a\n  ", "1. ", "    a\n", "word" * 50 + " ", "wordword", "a", "1", "0.1", "-a:"),
    *(
        "中",
        "天空是藍色的。",
        "👩‍👩‍👧",
        "🇦🇧",
        "a\u0315\u0300",
        "\u0315\u0300",
        "\u0300",
        "\u202e",
        "\u202ea",
        "\u0627\u0644",
        "\x00",
        "\x1c",
    ),
    *('{"text":"a"}\n', '{"text":"x"},', "- text: a\n", "User: a\n", "<|im_end|>", "\\u0041", "sep=;\n", "\ufeff"),
)
BEFORE: Final = ("", '["')  # the second at night: it doubles the time


def grows_too_fast(
    function: Callable[[str], Any], characters: int = CHARACTERS, pieces: Sequence[str] = PIECES, before: Sequence[str] = ("",)
) -> list[str]:
    """The texts for which it does; a refusal is an answer like any other."""
    return [
        f"{first!r} and {piece!r} again and again: {seconds[0]:.4f} s, then {seconds[1]:.4f} s for twice as much"
        for piece in pieces
        for first in before
        if (seconds := _too_fast(function, first, piece, characters))
    ]


def _too_fast(function: Callable[[str], Any], before: str, piece: str, characters: int) -> tuple[float, float] | None:
    """The two times, if one doubling takes too long and eight times the text says the same."""
    once, twice, eightfold = (
        (before + piece * (size // len(piece) + 1))[:size] for size in (characters, 2 * characters, 8 * characters)
    )
    long = took_s(function, twice)
    if long <= MOST_GROWTH * NOTHING_S:
        return None
    short, agreed = took_s(function, once), 0
    for _ in range(TRIES):
        agreed = agreed + 1 if long <= MOST_GROWTH * max(short, NOTHING_S) else 0
        if agreed == 2:  # once may be a short one that was disturbed
            return None
        short, long = min(short, took_s(function, once)), min(long, took_s(function, twice))
    most, spent, tries = MOST_EIGHTFOLD * max(short, NOTHING_S), 0.0, 0
    while tries < LEAST_TRIES or (tries < TRIES and spent < PATIENCE_S):
        took = took_s(function, eightfold)
        if took <= most:
            return None
        spent, tries = spent + took, tries + 1
    return short, long


def took_s(function: Callable[[str], Any], text: str) -> float:
    """Of this thread's own clock."""
    gc.disable()  # whose turn comes with the number of objects, not with the text
    began = time.thread_time()
    try:
        function(text)
    except Exception:
        pass
    finally:
        took = time.thread_time() - began
        gc.enable()
    return took
