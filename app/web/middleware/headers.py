"""The headers of every reply. A pure ASGI layer: the framework's own kind of middleware costs a task per request."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings
from app.web.security import visitor_cookie

REPORTS = "/csp-reports"  # app/web/watch/csp_reports.py

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
        f"report-uri {REPORTS}",  # for browsers that do not know the next
        "report-to csp",
    )
)


def add_headers(headers: MutableHeaders, settings: Settings) -> None:
    """The headers of every reply."""
    headers.setdefault("content-security-policy", CONTENT_SECURITY_POLICY)  # a chart brings its own
    headers["reporting-endpoints"] = f'csp="{REPORTS}"'
    headers["x-content-type-options"] = "nosniff"
    # An invitation's address is a secret; `no-referrer` would keep it too, but makes browsers send our forms as Origin: null.
    headers["referrer-policy"] = "same-origin"
    headers["cross-origin-opener-policy"] = "same-origin"
    headers["cross-origin-resource-policy"] = "same-origin"
    if settings.secure_cookies:
        headers["strict-transport-security"] = "max-age=31536000"


class ResponseHeaders:
    """Adds `add_headers` to every reply, and the visitor's cookie when a form for a signed-out person was made."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        settings: Settings = scope["app"].state.settings

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                add_headers(headers, settings)
                headers.setdefault("cache-control", "no-store")
                secret = scope.get("state", {}).get("new_visitor")
                if secret:
                    headers.append("set-cookie", _visitor(secret, scope, settings))
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _visitor(secret: str, scope: Scope, settings: Settings) -> str:
    secure = "; Secure" if settings.secure_cookies or scope["scheme"] == "https" else ""
    return f"{visitor_cookie(settings)}={secret}; Path=/; HttpOnly; SameSite=Lax{secure}"
