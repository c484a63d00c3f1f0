"""Text of models and of people, made safe and honest to read: as it was written, or as rendered Markdown.

Whatever it holds, nothing runs, nothing is fetched, nothing hides, and nothing takes long: Markdown that would is shown as
it was written.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

from app.texts.formulas import leave_formulas
from app.texts.highlighting import TooSlow, highlighted, lexer_of

LONGEST_MARKDOWN: Final = 20_000  # characters of guidelines; more is shown as written
LONGEST_ANSWER: Final = 10_000  # characters of an answer rendered as Markdown
RENDER_CPU_S: Final = 0.04  # of one text: the parser is superlinear on hostile text, so the clock of its thread stops it
CODE_CPU_S: Final = 0.04  # of colouring the code of one text
PAGE_CPU_S: Final = 0.12  # of all texts of a page together
MOST_TOKENS: Final = 3_000  # pieces of an answer, each of which is rendered and cleaned
MOST_MARKS: Final = 500  # controls shown by name; each further run of them is one plain sign

# Characters that change the order or the look of others without being seen, and what no script can print. The joiners
# U+200C and U+200D are left alone: Persian, Indic scripts and emoji are written with them.
_CONTROLS: Final = (
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
_UNSEEN: Final = re.compile(f"({_CONTROLS})\\1*")
_UNSEEN_RUN: Final = re.compile(f"{_CONTROLS}+")
# Letters that take their shape from both neighbours (Arabic, Syriac, N'Ko, Mongolian, Phags-pa, Adlam) and marks on them, more
# than any word has; a mark is not parted from its letter.
_JOINED_RUN: Final = re.compile(
    "[\u0600-\u07ff\u0840-\u08ff\u1800-\u18af\u200c\u200d\ufb50-\ufdff\ufe70-\ufefe"
    "\u0300-\u036f\ufe00-\ufe0f\ua840-\ua87f\U0001e900-\U0001e95f]{500}(?![\u0300-\u036f\u064b-\u065f\u0670\u06d6-\u06ed])"
)
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9_+#.-]{0,40}")  # that a fence names
_TAGS: Final = {
    *("p", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "s", "hr", "br", "span"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_CLASSES: Final = {tag: {"class"} for tag in ("p", "span", "code", "pre", "th", "td")} | {"ol": {"start"}}


def shown(text: str, display: str) -> Markup:
    """An answer or a message of a conversation; `display` is the project's choice, "written" or "markdown"."""
    return shown_alike([text], display)[0]


def shown_alike(texts: Sequence[str], display: str) -> list[Markup]:
    """Answers to one prompt, in one form: where one of them would take long to render, all are shown as they were written.

    Else the form would tell apart who wrote them, and people would judge it with the words. Each is rendered whatever became
    of the others, so that the reply takes as long with left and right changed over.
    """
    rendered = [html for text in texts if (html := _rendered(text)) is not None] if display == "markdown" else []
    return rendered if len(rendered) == len(texts) else [as_written(text) for text in texts]


def _rendered(text: str) -> Markup | None:
    """Markdown, while the page's time lasts."""
    left = _page.get()
    if left is not None and left[0] < RENDER_CPU_S:
        return None
    began = time.thread_time()
    html = _markdown(text)
    if left is not None:
        left[0] -= time.thread_time() - began
    return html


def begin_page() -> None:
    """From here on `shown` has the time of a fresh page."""
    _page.set([PAGE_CPU_S])


_page: ContextVar[list[float] | None] = ContextVar("page", default=None)  # seconds that are left, in a box that threads share


def as_written(text: str) -> Markup:
    """The text, escaped, with every unseen control made visible as its code point.

    A right-to-left override could otherwise make an answer read as something it does not say. A line of joined letters
    without end may be broken now and then: browsers shape all of it anew for each line.
    """
    return _reveal(_JOINED_RUN.sub(r"\g<0><wbr>", str(escape(text))))


def _reveal(html: str) -> Markup:
    """Safe HTML, whose tags hold no controls, with those of its text made visible; a run of the same one is shown once."""
    named = list(islice(_UNSEEN.finditer(html), MOST_MARKS))
    end = named[-1].end() if len(named) == MOST_MARKS else len(html)
    return Markup(_UNSEEN.sub(_mark, html[:end]) + _UNSEEN_RUN.sub("\N{SYMBOL FOR SUBSTITUTE FORM TWO}", html[end:]))


def _mark(found: re.Match[str]) -> str:
    character, times = found.group(1), len(found.group())
    name = unicodedata.name(character, "control character").lower()
    more = f" ×{times}" if times > 1 else ""
    return f'<span class="unseen" title="{name}">U+{ord(character):04X}{more}</span>'


# Markdown


@lru_cache(maxsize=256)
def _markdown(text: str) -> Markup | None:
    """Markdown of a model: links show where they point and lead nowhere, headings are no headings of the page.

    None for what would take long.
    """
    if len(text) > LONGEST_ANSWER:
        return None
    parser = _parser(linked=False)
    try:
        tokens = parser.parse(text, {"deadline": time.thread_time() + RENDER_CPU_S})
    except (TooSlow, RecursionError):
        return None
    if sum(1 + len(token.children or ()) for token in tokens) > MOST_TOKENS:
        return None
    for token in tokens:
        _plain_info(token)
        if token.type in ("heading_open", "heading_close"):
            token.attrSet("class", f"heading heading--{token.tag[1]}")
            token.tag = "p"
    _load_lexers(tokens)
    try:
        html = parser.renderer.render(tokens, parser.options, {"deadline": time.thread_time() + CODE_CPU_S})
    except TooSlow:
        return None
    clean = nh3.clean(html, tags=_TAGS, attributes=_CLASSES, link_rel=None)
    return Markup('<div class="rendered">{}</div>').format(_reveal(clean))


def _plain_info(token: Token) -> None:
    """What a fence calls its language becomes part of a tag, where no control may be made visible."""
    if not _LANGUAGE.fullmatch(token.info):
        token.info = ""


def _load_lexers(tokens: Iterable[Token]) -> None:
    """That happens once in the life of a process, and is no page's time: the first answer with code would be shown without
    colours, and be remembered so.
    """
    began = time.thread_time()
    for token in tokens:
        if token.type == "fence":
            lexer_of(token.info)
    left = _page.get()
    if left is not None:
        left[0] += time.thread_time() - began


@lru_cache(maxsize=64)
def render_markdown(text: str) -> Markup:
    """Markdown of a trusted writer (guidelines) as HTML from a short list of tags: no images, no raw HTML, no scripts.

    Headings go down one level, below the page's own. What is too long or too slow is shown as it was written.
    """
    plain = Markup('<div class="reading">{}</div>')
    if len(text) > LONGEST_MARKDOWN:
        return plain.format(as_written(text))
    parser = _parser(linked=True)
    try:
        tokens = parser.parse(text, {"deadline": time.thread_time() + PAGE_CPU_S})
        for token in tokens:
            _plain_info(token)
            if token.type in ("heading_open", "heading_close"):
                token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
        _load_lexers(tokens)
        html = parser.renderer.render(tokens, parser.options, {"deadline": time.thread_time() + PAGE_CPU_S})
    except (TooSlow, RecursionError):
        return plain.format(as_written(text))
    clean = nh3.clean(
        html,
        tags=_TAGS | {"a"},
        attributes=_CLASSES | {"a": {"href"}, "*": set()},  # no title: it would hold controls as they are
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return _reveal(clean)  # an address holds no control: the parser writes it in per cent


@lru_cache(maxsize=2)
def _parser(*, linked: bool) -> MarkdownIt:
    """CommonMark with tables and strike-through, without raw HTML and images, stopped by the deadline in its environment."""
    parser = MarkdownIt("commonmark", {"html": False})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.block.ruler.before("table", "deadline", _block_deadline)
    parser.inline.ruler.before("text", "deadline", _inline_deadline)
    parser.add_render_rule("fence", _coloured)
    leave_formulas(parser)
    if not linked:
        parser.add_render_rule("link_open", _no_link)
        parser.add_render_rule("link_close", _address)
        parser.add_render_rule("th_open", _aligned)
        parser.add_render_rule("td_open", _aligned)
    return parser


def _block_deadline(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A rule that matches nothing, and is asked before every other one."""
    _check(state.env)
    return False


def _inline_deadline(state: StateInline, silent: bool) -> bool:
    _check(state.env)
    return False


def _check(env: Any) -> None:
    if time.thread_time() > env["deadline"]:
        raise TooSlow


def _coloured(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    if token.info:
        token.attrJoin("class", f"language-{token.info}")
    code = highlighted(token.content, token.info, env["deadline"])
    return f"<pre><code{renderer.renderAttrs(token)}>{code}</code></pre>\n"


# Rules of the renderer for answers: an address stands after its text, to be read and not followed; columns align by classes.


def _no_link(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return ""


def _address(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    opening = _opening(tokens, index)
    if opening.info == "auto":
        return ""  # its text is its address
    return f' <span class="address">({escape(str(opening.attrGet("href")))})</span>'


def _aligned(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    style = str(tokens[index].attrs.pop("style", ""))
    if style:
        tokens[index].attrSet("class", style.replace("text-align:", "align-"))
    return str(renderer.renderToken(tokens, index, options, env))


def _opening(tokens: Sequence[Token], close: int) -> Token:
    """The link_open that belongs to the link_close at `close`; links do not nest."""
    return next(tokens[at] for at in range(close, -1, -1) if tokens[at].type == "link_open")
