"""The reader's language: which one a request is answered in, its catalogue, and `_` for every sentence a person reads.

The language belongs to the request, not to the code that speaks: `SpeaksLanguage` sets it for the request's context, `gate`
puts the person's own choice in its place, and whatever renders or refuses below them just says `_("...")`. English is the
language of the source; outside of a request that is what `_` answers. Catalogues are read from `locales/` as they are
written, so there is nothing to compile. How they are kept complete is in `app/language/catalogues.py`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from typing import Any, Final

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from app.language import spacing
from app.shipped import shipped

LOCALES: Final = shipped("locales")
SOURCE: Final = "en"
LANGUAGES: Final = {SOURCE: "English", "zh-Hant": "繁體中文"}  # tag -> its own name; each but English has locales/<tag>.po
COOKIE: Final = "tastemaker_language"

_current: ContextVar[str] = ContextVar("language", default=SOURCE)


def current() -> str:
    """The language of this request, as a tag of LANGUAGES."""
    return _current.get()


def use(language: str) -> None:
    """Answer the rest of this request in that language. Raises KeyError for one we do not speak."""
    LANGUAGES[language]
    _current.set(language)


def locale() -> Locale:
    """How this request's reader writes numbers and dates."""
    return _locale(current())


@lru_cache(maxsize=8)
def _locale(language: str) -> Locale:
    return Locale.parse(language, sep="-")


# Saying something. The source text is the key; a literal % is written %%.


def gettext(text: str, /, **values: Any) -> str:
    """The sentence in the reader's language, with its `%(name)s` filled in."""
    return filled(known(text), values)


def ngettext(one: str, many: str, number: int, /, **values: Any) -> str:
    """As `gettext`, in the form that the language uses for so many; `%(num)s` is the number."""
    return filled(known_plural(one, many, number), {"num": number, **values})


def filled(sentence: spacing.Words, values: Mapping[str, Any]) -> spacing.Words:
    """A sentence of the catalogue with its values, set apart from them as the reader's language does."""
    return spacing.put(sentence, values) if sets_apart() else type(sentence)(sentence % values)


def ended(sentence: spacing.Words) -> spacing.Words:
    """A sentence of a page, marked where the space that a template leaves after it is not to be seen."""
    return spacing.said(sentence) if sets_apart() else sentence


def sets_apart() -> bool:
    """Whether the reader's language has its own rules for the space between words."""
    return locale().language == "zh"


def N_(text: str) -> str:
    """Marks a sentence that is said later, by `_(...)` where it is shown."""
    return text


def N_plural(one: str, many: str) -> tuple[str, str]:
    """As `N_`, for `ngettext(*forms, number)`."""
    return one, many


def known(text: str) -> str:
    """A sentence that was stored or made elsewhere, in the reader's language if the catalogue has it, else as it is."""
    return _catalogue(current()).gettext(text) if text else text


def known_plural(one: str, many: str, number: int) -> str:
    return _catalogue(current()).ngettext(one, many, number)


_ = gettext


@lru_cache(maxsize=8)
def _catalogue(language: str) -> NullTranslations:
    if language == SOURCE:
        return NullTranslations()
    with (LOCALES / f"{language}.po").open("rb") as file:
        catalog = read_po(file, locale=str(_locale(language)), abort_invalid=True)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return GNUTranslations(compiled)


# Which language


class SpeaksLanguage:
    """Answers a request in the language of its cookie, else of its Accept-Language header, else in English."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            use(asked_for(HTTPConnection(scope)))
        await self.app(scope, receive, send)


def asked_for(connection: HTTPConnection) -> str:
    """The language a browser asks for, before we know who is behind it."""
    chosen = connection.cookies.get(COOKIE)
    return chosen if chosen in LANGUAGES else _accepted(connection.headers.get("accept-language", ""))


def _accepted(header: str) -> str:
    """The best of ours that an Accept-Language header names (RFC 9110, 12.5.4); English when it names none."""
    wishes: list[tuple[float, str]] = []
    for wish in header[:1000].split(","):
        tag, _, parameter = wish.partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        language = _nearest(tag.strip().lower().split("-"))
        if language and weight > 0:
            wishes.append((weight, language))
    return max(wishes, key=lambda wish: wish[0], default=(1, SOURCE))[1]


def _nearest(subtags: list[str]) -> str | None:
    """Our language for a tag's subtags. Chinese is Traditional unless the tag says Simplified, by script or by place."""
    if subtags[0] == "zh":
        return "zh-Hant" if "hant" in subtags or not {"hans", "cn", "sg", "my"} & set(subtags) else None
    return SOURCE if subtags[0] == SOURCE else None
