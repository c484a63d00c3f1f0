"""Pages: the Jinja environment, `render()`, `redirect()` with a message, and the static files under one digest.

Templates see what the route gives them and the names of `_shared`. Filters are in `app/language/formats.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.language import formats, languages, spacing
from app.language.run_messages import told
from app.settings import Settings
from app.shipped import shipped
from app.texts.safe_html import as_written, begin_page, shown, shown_alike
from app.web.security import Principal, current_principal, form_token

TEMPLATES = shipped("templates")
STATIC = shipped("static")

Tone = Literal["ok", "note", "danger"]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Jinja with autoescape everywhere; a name that a route forgot is an error, not an empty place."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    jinja.policies["ext.i18n.trimmed"] = True
    jinja.install_gettext_callables(languages.known, languages.known_plural, newstyle=True)  # type: ignore[attr-defined]
    jinja.globals |= {"gettext": _gettext, "ngettext": _ngettext}
    jinja.filters |= {name: _for_each_reader(filter_) for name, filter_ in formats.FILTERS.items()}
    jinja.filters["sentence"] = _sentence
    jinja.filters |= {"as_written": as_written, "shown": shown, "shown_alike": shown_alike, "told": told}
    jinja.globals |= {"static": static_url, "stylesheets": stylesheets}
    return jinja


def _for_each_reader(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Of `5400 | duration` Jinja would work out the words once, in the language of whoever reads it first."""

    @pass_context
    def asked(_context: Context, *values: Any, **options: Any) -> Any:
        return filter_(*values, **options)

    return asked


@pass_context
def _sentence(_context: Context, parts: Iterable[str]) -> str:
    return languages.ended(formats.sentence(parts))


def _gettext(text: str, /, **values: Any) -> Markup:
    """What a template says: a sentence of ours is HTML, what is put into it is not."""
    return languages.ended(languages.filled(Markup(languages.known(text)), values))


def _ngettext(one: str, many: str, number: int, /, **values: Any) -> Markup:
    return languages.ended(languages.filled(Markup(languages.known_plural(one, many, number)), {"num": number, **values}))


def render(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """An HTML reply. `values` are what the template shows; `project`, where there is one, also draws the navigation."""
    begin_page()
    message = _read_message(request)
    text = environment().get_template(template).render(_shared(request) | {"message": message, "status": status} | values)
    response = HTMLResponse(spacing.settled(text), status_code=status, headers=dict(headers or {}))
    response.headers.setdefault("Cache-Control", "no-store")
    if message is not None:
        response.delete_cookie(_message_cookie(request), path="/")
    return response


def redirect(request: Request, url: str, message: str = "", tone: Tone = "ok") -> Response:
    """303 after a form, so that reloading sends nothing twice. The next page shows `message` once."""
    if not url.startswith("/") or url.startswith(("//", "/\\")):
        raise ValueError("redirects stay on this site")
    response = RedirectResponse(url, status_code=303)
    if message:
        packed = base64.urlsafe_b64encode(json.dumps([tone, message[:500]]).encode()).decode()
        settings: Settings = request.app.state.settings
        response.set_cookie(
            _message_cookie(request), packed, max_age=60, path="/", secure=settings.secure_cookies, httponly=True, samesite="lax"
        )
    return response


def local(url: str) -> str:
    """The address itself when it stays on this site, else the start page."""
    plain = url.startswith("/") and not url.startswith(("//", "/\\")) and url.isprintable() and url.isascii()
    return url if plain and len(url) < 500 else "/"


def place_now(request: Request) -> str:
    """Where the reader is, to come back to after signing in: this page, or the one whose form they sent."""
    if request.method in ("GET", "HEAD"):
        return local(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
    before = urlsplit(request.headers.get("referer", ""))
    if before.netloc != request.url.netloc:
        return "/"
    return local(before.path + (f"?{before.query}" if before.query else ""))


def _shared(request: Request) -> dict[str, Any]:
    """The names every template may use."""
    principal = current_principal(request)
    token = form_token(request)
    return {
        "request": request,
        "path": request.url.path,
        "place_now": place_now(request),
        "principal": principal,
        "can_admin": _may(principal, "admin"),
        "can_review": _may(principal, "reviewer", "admin"),
        "project": None,
        "language": languages.current(),
        "languages": languages.LANGUAGES,
        "text_direction": languages.locale().text_direction,
        "csrf_token": token,
        "csrf_field": lambda: Markup('<input type="hidden" name="csrf_token" value="{}">').format(token),
    }


def _may(principal: Principal | None, *roles: str) -> bool:
    return principal is not None and (principal.is_owner or principal.role in roles)


# The message a redirect leaves for the next page


def _message_cookie(request: Request) -> str:
    settings: Settings = request.app.state.settings
    return "__Host-tastemaker_message" if settings.secure_cookies else "tastemaker_message"


def _read_message(request: Request) -> tuple[Tone, str] | None:
    packed = request.cookies.get(_message_cookie(request))
    if not packed:
        return None
    try:
        tone, text = json.loads(base64.urlsafe_b64decode(packed))
    except (ValueError, TypeError, binascii.Error):
        return None
    if tone not in ("ok", "note", "danger") or not isinstance(text, str):
        return None
    return tone, text


# Static files


@lru_cache(maxsize=1)
def static_digest() -> str:
    """One digest of the whole folder: modules import each other by relative paths, so they share it."""
    total = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            total.update(path.relative_to(STATIC).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


def static_url(path: str) -> str:
    """The address of a file in static/, new whenever any of them changes. Raises ValueError for a file that is not there."""
    if not (STATIC / path).is_file():
        raise ValueError(f"static/{path} does not exist")
    return f"/static/{static_digest()}/{path}"


@lru_cache(maxsize=1)
def stylesheets() -> list[str]:
    """Tokens, base and layout in this order, then one sheet per component."""
    components = sorted(path.name for path in (STATIC / "css" / "components").glob("*.css"))
    names = ["css/tokens.css", "css/base.css", "css/layout.css", *(f"css/components/{name}" for name in components)]
    return [static_url(name) for name in names]


class StaticPages(StaticFiles):
    """static/ under its digest, kept by browsers for a year; mount it at /static."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        digest, _, rest = path.partition("/")
        response = await super().get_response(rest, scope)
        fresh = digest == static_digest()
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fresh else "no-cache"
        return response
