r"""Formulas in Markdown, left as they were written: `$x_1*y_2$`, `$$..$$`, `\(..\)`, `\[..\]`.

Their underscores and stars are no emphasis and their backslashes no escapes. Where formulas end is looked up in lists that are
made once for each text, so that hostile text is read in linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import escape

# How each begins, and how it ends. A dollar that begins one has no space behind it, one that ends it none before it and no digit
# behind it, so that `$5 and $10` are prices.
_ENDS: Final[dict[str, re.Pattern[str]]] = {
    "$$": re.compile(r"(?<!\\)\$\$"),
    "$": re.compile(r"(?<![\\\s$])\$(?![\d$])"),
    r"\(": re.compile(r"\\\)"),
    r"\[": re.compile(r"\\\]"),
}
_OF_LINES: Final = ("$$", r"\[")  # may stand in lines of their own


def leave_formulas(parser: MarkdownIt) -> None:
    parser.inline.ruler.before("escape", "formula", _inline)
    interrupted = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("table", "formula", _lines, interrupted)
    parser.add_render_rule("formula", _as_written)


def _inline(state: StateInline, silent: bool) -> bool:
    mark = _mark(state.src, state.pos)
    if mark is None or (mark == "$" and state.src[state.pos + 1 : state.pos + 2].isspace()):
        return False
    end = _next_end(state.env, state.src, mark, state.pos + len(mark))
    if end is None or end > state.posMax:
        return False
    if not silent:
        state.push("formula", "", 0).content = state.src[state.pos : end]
    state.pos = end
    return True


def _lines(state: StateBlock, line: int, end_line: int, silent: bool) -> bool:
    """From a line that begins with a mark to one that ends with its end, no empty one between: a paragraph, whatever it holds."""
    begin = state.bMarks[line] + state.tShift[line]
    mark = _mark(state.src, begin)
    if mark not in _OF_LINES or state.is_code_block(line):
        return False
    end = _next_end(state.env, state.src, mark, begin + len(mark))
    no_ends: set[int] = state.env.setdefault("no ends of lines", set())
    if end is None or end in no_ends:
        return False
    last = line
    while last < end_line and state.eMarks[last] < end and not state.isEmpty(last):
        last += 1
    if last == end_line or state.eMarks[last] < end or state.src[end : state.eMarks[last]].strip():
        no_ends.add(end)  # for the next line that begins so it is as far away
        return False
    if not silent:
        state.push("paragraph_open", "p", 1).map = [line, last + 1]
        state.push("inline", "", 0).content = state.getLines(line, last + 1, state.blkIndent, False).strip()
        state.push("paragraph_close", "p", -1)
        state.line = last + 1
    return True


def _as_written(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    text = tokens[index].content
    classes = "formula formula--lines" if "\n" in text else "formula"
    return f'<span class="{classes}">{escape(text)}</span>'


def _mark(text: str, at: int) -> str | None:
    two = text[at : at + 2]
    return two if two in _ENDS else "$" if two[:1] == "$" else None


def _next_end(env: Any, text: str, mark: str, after: int) -> int | None:
    """Where the first formula with this mark ends that has something in it from `after` on; none where there is no more."""
    known: dict[tuple[str, str], list[int]] = env.setdefault("formulas", {})
    if (mark, text) not in known:
        known[mark, text] = [found.end() for found in _ENDS[mark].finditer(text)]
    ends = known[mark, text]
    at = bisect_left(ends, after + len(mark) + 1)
    return ends[at] if at < len(ends) else None
