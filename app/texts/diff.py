"""What changed between two texts, line by line and inside a line word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from functools import lru_cache
from typing import Final, Literal

Kind = Literal["same", "gone", "new"]
CONTEXT: Final = 1  # unchanged lines shown around a change
MOST_LINES: Final = 600  # of a text; the matching is quadratic on hostile text, so a longer one is one passage
MOST_WORDS: Final = 1_200  # of a changed passage, spaces counted; a longer one is shown as all gone and all new
_HAN: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # written without spaces: each sign is a word
_WORDS: Final = re.compile(rf"\s+|[{_HAN}]|[^\W{_HAN}]+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the comparison; none of its pieces where unchanged lines were left out."""

    pieces: tuple[Piece, ...]

    @property
    def is_gap(self) -> bool:
        return not self.pieces


@lru_cache(maxsize=64)
def changed_lines(before: str, after: str) -> tuple[Line, ...]:
    """The changed lines with a little of what stands around them; empty when nothing changed."""
    old, new = before.split("\n"), after.split("\n")
    if max(len(old), len(new)) > MOST_LINES:
        return tuple(_passage(before, after)) if before != after else ()
    lines: list[Line] = []
    opcodes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for number, (tag, old_from, old_to, new_from, new_to) in enumerate(opcodes):
        if tag == "equal":
            lines += _around(new[new_from:new_to], first=number == 0, last=number == len(opcodes) - 1)
        else:
            lines += _passage("\n".join(old[old_from:old_to]), "\n".join(new[new_from:new_to]))
    return tuple(lines) if before != after else ()


@lru_cache(maxsize=64)
def unified(before: str, after: str, names: tuple[str, str]) -> str:
    """The same as `diff -u` writes it, for programs and terminals; empty when nothing changed.

    Texts of more than MOST_LINES are one passage here, too.
    """
    old, new = before.split("\n"), after.split("\n")
    if before != after and max(len(old), len(new)) > MOST_LINES:
        head = [f"--- {names[0]}", f"+++ {names[1]}", f"@@ -1,{len(old)} +1,{len(new)} @@"]
        return "\n".join([*head, *(f"-{line}" for line in old), *(f"+{line}" for line in new)])
    return "\n".join(unified_diff(old, new, *names, lineterm=""))


def _around(lines: list[str], *, first: bool, last: bool) -> Iterator[Line]:
    """The edges of an unchanged stretch that touch a change."""
    head, tail = 0 if first else CONTEXT, 0 if last else CONTEXT
    if len(lines) <= head + tail:
        yield from (_same(text) for text in lines)
        return
    yield from (_same(text) for text in lines[:head])
    yield Line(())
    yield from (_same(text) for text in lines[len(lines) - tail :])


def _same(text: str) -> Line:
    return Line((Piece("same", text),))


def _passage(old: str, new: str) -> Iterator[Line]:
    """Both versions of a changed passage in one: words that went, words that came, words that stayed."""
    pieces: list[Piece] = []
    for kind, text in _words_changed(old, new):
        for number, part in enumerate(text.split("\n")):
            if number:
                yield Line(tuple(pieces) or (Piece("same", ""),))
                pieces = []
            if part:
                pieces.append(Piece(kind, part))
    if pieces:
        yield Line(tuple(pieces))


def _words_changed(old: str, new: str) -> Iterator[tuple[Kind, str]]:
    was, now = _WORDS.findall(old), _WORDS.findall(new)
    if max(len(was), len(now)) > MOST_WORDS:
        yield from (("gone", old), ("same", "\n"), ("new", new))
        return
    for tag, was_from, was_to, now_from, now_to in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(now[now_from:now_to])
            continue
        if was_to > was_from:
            yield "gone", "".join(was[was_from:was_to])
        if now_to > now_from:
            yield "new", "".join(now[now_from:now_to])
