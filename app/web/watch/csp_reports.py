"""What browsers report that the content security policy stopped: one line in the log each, so many a minute and no more.

Anybody can send one, so it is believed in nothing: it is cut short, quoted, and stored nowhere.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.web.middleware.headers import REPORTS

log = logging.getLogger("tastemaker")

MOST_A_MINUTE: Final = 20
MOST_BYTES: Final = 20_000
FIELDS: Final = {
    "document": ("document-uri", "documentURL"),
    "directive": ("effective-directive", "effectiveDirective"),
    "blocked": ("blocked-uri", "blockedURL"),
    "source": ("source-file", "sourceFile"),
    "line": ("line-number", "lineNumber"),
}

router = APIRouter()


class Minute:
    """How many lines this minute has had."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._minute, self._lines = -1, 0

    def has_room(self) -> bool:
        with self._guard:
            now = int(time.monotonic() // 60)
            if now != self._minute:
                self._minute, self._lines = now, 0
            self._lines += 1
            if self._lines == MOST_A_MINUTE + 1:
                log.warning("content security policy: more than %s reports a minute; the rest are left out", MOST_A_MINUTE)
            return self._lines <= MOST_A_MINUTE


minute = Minute()


@router.post(REPORTS)
async def take_report(request: Request) -> Response:
    body = await _start(request)
    for report in _reports(body) if body is not None else ():
        if minute.has_room():
            log.warning("content security policy: %s", json.dumps(report))
    return Response(status_code=204)


async def _start(request: Request) -> bytes | None:
    """The body, unless it is too long to be one of a browser's."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return body


def _reports(body: bytes) -> list[dict[str, str]]:
    """Of either kind that browsers send: one under `csp-report`, or a list with a `body` each."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return []
    found = given if isinstance(given, list) else [given]
    bodies = [one.get("csp-report") or one.get("body") for one in found if isinstance(one, dict)]
    return [_fields(one) for one in bodies if isinstance(one, dict)]


def _fields(report: dict[str, Any]) -> dict[str, str]:
    """The named fields as short text; of an address what stands before `?`, as the rest may be somebody's secret."""
    values = {name: next((report[key] for key in keys if key in report), None) for name, keys in FIELDS.items()}
    return {name: str(value).partition("?")[0][:200] for name, value in values.items() if isinstance(value, str | int)}
