"""What is cut from the ends of a text before it is kept: white space that says nothing. The indent of a first line is meaning."""

from __future__ import annotations

import re

_BLANK_LINES = re.compile(r"\A(?:[^\S\r\n]*(?:\r\n|\r|\n))+")


def trimmed(text: str) -> str:
    """The text without blank lines before it and white space after it."""
    return _BLANK_LINES.sub("", text).rstrip()
