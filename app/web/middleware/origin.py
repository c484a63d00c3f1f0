"""Where a request came from: another site's requests, and addresses no route should see, end here. A pure ASGI layer."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import NotAllowed, Refusal
from app.language.languages import _
from app.settings import Settings
from app.web.error_replies import refuse

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SameSite:
    """Refuses requests that another site made, and addresses that hold a NUL.

    Browsers send Origin or Sec-Fetch-Site with everything that changes something. A request with an Authorization header was
    not made by a form, and a browser adds none by itself. The form token in `app/web/gate.py` is the second lock.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = _refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        response = refuse(Request(scope, receive), refusal)
        await response(scope, receive, send)


def _refusal(scope: Scope) -> Refusal | None:
    if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
        return Refusal(_("The address contains a character that no address of ours has."))
    if not scope["path"].isprintable() and any("\ud800" <= character <= "\udfff" for character in scope["path"]):
        return Refusal(_("The address is not valid Unicode."))
    headers = Headers(scope=scope)
    if scope["method"] in SAFE_METHODS or "authorization" in headers:
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site not in (None, "same-origin", "none") or (origin is not None and not _is_ours(origin, headers, scope))
    return NotAllowed(_("This was sent from another site. Open Tastemaker itself and do it there.")) if foreign else None


def _is_ours(origin: str, headers: Headers, scope: Scope) -> bool:
    given = urlsplit(origin)
    settings: Settings = scope["app"].state.settings
    if settings.public_url and given[:2] == urlsplit(settings.public_url)[:2]:
        return True
    return given.scheme == scope["scheme"] and given.netloc == headers.get("host")
