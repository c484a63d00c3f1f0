"""Text of models and of people, made safe and honest to read: as it was written, or as rendered markdown."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

LONGEST_MARKDOWN: Final = 20_000  # characters; the parser is superlinear on hostile text, so more is shown as written

# Characters that change the order or the look of others without being seen.
_UNSEEN: Final = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad\u180e\ufff9-\ufffb]")
_JOINERS: Final = "\u200c\u200d"  # Persian, Indic scripts and emoji are written with these
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_TAGS: Final = {
    *("p", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "hr", "br", "a"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


def as_written(text: str) -> Markup:
    """The text, escaped, with every unseen control made visible as its code point.

    A right-to-left override could otherwise make an answer read as something it does not say.
    """
    pieces: list[Markup] = []
    end = 0
    for found in _controls(text):
        pieces.append(escape(text[end : found.start()]))
        character = found.group()
        name = unicodedata.name(character, "control character").lower()
        pieces.append(Markup('<span class="unseen" title="{}">U+{}</span>').format(name, f"{ord(character):04X}"))
        end = found.end()
    pieces.append(escape(text[end:]))
    return Markup("").join(pieces)


def _controls(text: str) -> list[re.Match[str]]:
    found = [match for match in _UNSEEN.finditer(text) if match.group() not in _JOINERS]
    if not text.isprintable():
        found += _CONTROL.finditer(text)
    return sorted(found, key=lambda match: match.start())


@lru_cache(maxsize=64)
def render_markdown(text: str) -> Markup:
    """Markdown of a trusted writer (guidelines) as HTML from a short list of tags: no images, no raw HTML, no scripts.

    Headings go down one level, below the page's own. Longer text than LONGEST_MARKDOWN is shown as it was written.
    """
    if len(text) > LONGEST_MARKDOWN:
        return Markup('<div class="reading">{}</div>').format(as_written(text))
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    html = parser.renderer.render(tokens, parser.options, {})
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)
