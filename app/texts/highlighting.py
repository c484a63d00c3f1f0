"""Code in an answer, coloured by classes alone: the page's policy forbids inline styles."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from markupsafe import escape
from pygments import highlight
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


def highlighted(code: str, language: str, _attributes: str) -> str:
    """The code as HTML inside of <code>, for markdown-it; plain where the language is not known or the code is too long."""
    lexer = _lexer(language.lower()) if language.lower() in LANGUAGES else None
    if lexer is None or len(code) > LONGEST_CODE or max(map(len, code.split("\n")), default=0) > LONGEST_LINE:
        return str(escape(code))
    html: str = highlight(code, lexer, _FORMATTER)
    return html


_FORMATTER: Final = HtmlFormatter(nowrap=True, classprefix="hl-")


@lru_cache(maxsize=64)
def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
