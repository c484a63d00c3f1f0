"""What changed between two texts, line by line and inside a line word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from functools import lru_cache
from typing import Final, Literal

Kind = Literal["same", "gone", "new"]
CONTEXT: Final = 1  # unchanged lines shown around a change
MOST_LINES: Final = 600  # of a text; the matching takes time and memory by the square, so a longer one is one passage
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
    stretches = _matched(old, new)
    for number, (is_same, old_from, old_to, new_from, new_to) in enumerate(stretches):
        if is_same:
            lines += _around(new[new_from:new_to], first=number == 0, last=number == len(stretches) - 1)
        else:
            lines += _passage("\n".join(old[old_from:old_to]), "\n".join(new[new_from:new_to]))
    return tuple(lines) if before != after else ()


@lru_cache(maxsize=64)
def both_whole(one: str, other: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Two texts, neither of them earlier, each in pieces from its beginning to its end: what only the first one says is "gone",
    what only the other one says "new".
    """
    lines, others = one.splitlines(keepends=True), other.splitlines(keepends=True)
    if max(len(lines), len(others)) > MOST_LINES:
        lines, others = [one], [other]
    pieces: list[Piece] = []
    for is_same, one_from, one_to, other_from, other_to in _matched(lines, others):
        mine, theirs = "".join(lines[one_from:one_to]), "".join(others[other_from:other_to])
        pieces += [Piece("same", mine)] if is_same else (Piece(kind, text) for kind, text in _words_changed(mine, theirs))
    first, second = (_phrases([piece for piece in pieces if piece.kind in ("same", kind)]) for kind in ("gone", "new"))
    return first, second


def _phrases(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Words that differ one after the other are one piece, with the spaces that both texts have between them."""
    found: list[Piece] = []
    for piece in pieces:
        if len(found) > 1 and found[-2].kind == piece.kind != "same" and not found[-1].text.strip(" "):
            between = found.pop()
            found[-1] = Piece(piece.kind, found[-1].text + between.text + piece.text)
        else:
            found.append(piece)
    return tuple(found)


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
    for kind, text in _words_changed(old, new, between="\n"):
        for number, part in enumerate(text.split("\n")):
            if number:
                yield Line(tuple(pieces) or (Piece("same", ""),))
                pieces = []
            if part:
                pieces.append(Piece(kind, part))
    if pieces:
        yield Line(tuple(pieces))


def _words_changed(old: str, new: str, between: str = "") -> Iterator[tuple[Kind, str]]:
    """`between` parts two passages that are too long to be compared."""
    was, now = _WORDS.findall(old), _WORDS.findall(new)
    if max(len(was), len(now)) > MOST_WORDS:
        yield from (("gone", old), *((("same", between),) if between else ()), ("new", new))
        return
    for is_same, was_from, was_to, now_from, now_to in _matched(was, now):
        if is_same:
            yield "same", "".join(now[now_from:now_to])
            continue
        if was_to > was_from:
            yield "gone", "".join(was[was_from:was_to])
        if now_to > now_from:
            yield "new", "".join(now[now_from:now_to])


def _matched(old: Sequence[str], new: Sequence[str]) -> list[tuple[bool, int, int, int, int]]:
    """Stretches of `old` and of `new`, in turn the same and not: the longest subsequence they have in common is the same.

    Python's own matcher takes ten seconds for a thousand marks of one kind.
    """
    from rapidfuzz.distance import LCSseq  # forty modules, which the program starts without

    numbers: dict[str, int] = {}  # compared by these: equal texts have equal ones, and no two others do
    was, now = ([numbers.setdefault(text, len(numbers)) for text in texts] for texts in (old, new))
    stretches: list[tuple[bool, int, int, int, int]] = []
    for step in LCSseq.opcodes(was, now):
        is_same, old_from, new_from = step.tag == "equal", step.src_start, step.dest_start
        if stretches and stretches[-1][0] == is_same:  # what went and what came, one after the other
            _, old_from, _, new_from, _ = stretches.pop()
        stretches.append((is_same, old_from, step.src_end, new_from, step.dest_end))
    for place in range(1, len(stretches) - 1):
        _slide(stretches, place, old, new)
    return stretches


def _slide(stretches: list[tuple[bool, int, int, int, int]], place: int, old: Sequence[str], new: Sequence[str]) -> None:
    """What came or went moves on while it begins as what follows it: so that a new sentence ends with its own full stop."""
    is_same, old_from, old_to, new_from, new_to = stretches[place]
    if is_same or (old_to > old_from and new_to > new_from):
        return
    texts, start, end = (new, new_from, new_to) if new_to > new_from else (old, old_from, old_to)
    _, next_old, next_old_to, next_new, next_new_to = stretches[place + 1]
    by = 0
    while by < next_old_to - next_old and texts[start + by] == texts[end + by]:
        by += 1
    _, before_old, before_old_to, before_new, before_new_to = stretches[place - 1]
    stretches[place - 1] = (True, before_old, before_old_to + by, before_new, before_new_to + by)
    stretches[place] = (False, old_from + by, old_to + by, new_from + by, new_to + by)
    stretches[place + 1] = (True, next_old + by, next_old_to, next_new + by, next_new_to)
