"""Code in an answer, coloured by classes alone: the page's policy forbids inline styles."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from markupsafe import escape
from pygments import format
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST_CODE: Final = 4_000  # characters; more stays plain, because lexers can be slow on hostile text
LONGEST_LINE: Final = 500
LANGUAGES: Final = frozenset(
    {
        *(
            "bash",
            "c",
            "cpp",
            "csharp",
            "css",
            "diff",
            "go",
            "html",
            "java",
            "javascript",
            "js",
            "json",
            "kotlin",
            "python",
            "py",
        ),
        *("python3", "r", "rb", "ruby", "rust", "sh", "shell", "sql", "swift", "toml", "ts", "typescript", "xml", "yaml", "yml"),
    }
)


class TooSlow(Exception):
    """What a text was given to be made HTML in is used up."""


def highlighted(code: str, language: str, deadline: float) -> str:
    """The code as HTML inside of <code>; plain where the language is not known or the code is too long.

    Raises TooSlow once the clock of its thread is past the deadline: some lexers look far ahead from every place, so that
    a page of nothing but line ends would keep them busy for a second.
    """
    lexer = lexer_of(language)
    if lexer is None or len(code) > LONGEST_CODE or max(map(len, code.split("\n")), default=0) > LONGEST_LINE:
        return str(escape(code))
    html: str = format(_until(deadline, lexer.get_tokens(code)), _FORMATTER)
    return html


def _until(deadline: float, tokens: Iterator[Any]) -> Iterator[Any]:
    for token in tokens:
        if time.thread_time() > deadline:
            raise TooSlow
        yield token


_FORMATTER: Final = HtmlFormatter(nowrap=True, classprefix="hl-")


def lexer_of(language: str) -> Lexer | None:
    """What knows the language; None where nothing here does. The first time that reads its rules, for a tenth of a second."""
    return _lexer(language.lower()) if language.lower() in LANGUAGES else None


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
