"""A body that is too large by its own account is refused in words: the layer that finds it out answers in two of its own."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.error_replies import on_http_exception


class TooLargeInWords:
    """Stands around the framework's limit on bodies. A pure ASGI layer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = False

        async def send_in_words(message: Message) -> None:
            nonlocal said
            if said:
                return  # the rest of what was put aside
            if message["type"] == "http.response.start" and _is_plain_refusal(message):
                said = True
                await on_http_exception(Request(scope), HTTPException(413))(scope, receive, send)
            else:
                await send(message)

        await self.app(scope, receive, send_in_words)


def _is_plain_refusal(start: Message) -> bool:
    return start["status"] == 413 and Headers(raw=start["headers"]).get("content-type", "").startswith("text/plain")
