"""JSON sent to an address that the owner named, once: what comes back, or why nothing did.

Redirections are not followed: only that address is ever asked, and told the key. Which machine answers is looked at before a word
is said to it, unless the owner's proxy does the talking.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, Self

from trainer.contract.english import SpokenError
from trainer.contract.messages import Message

MAY_PASS: Final = frozenset({408, 429})  # beside 5xx
MOST_PAUSE_S: Final = 86_400.0  # that is heard of a wish to be left alone
MOST_SAID: Final = 64 * 2**10  # bytes of what goes with a refusal
JSON: Final = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "tastemaker"}

Reaches = Callable[[str], bool]  # of the IP address of whoever answered


class Passing(SpokenError):
    """It did not work this time. `after_s`: how long the other side asked to be left alone; `status` 0 where it did not reply."""

    def __init__(self, message: Message, status: int = 0, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.after_s = status, after_s


class NotAsked(SpokenError):
    """It will not work another time, either. `said`: what came with it."""

    def __init__(self, message: Message, status: int = 0, said: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.said = status, said


class TooLong(Exception):
    """The reply is larger than what is read of one."""


class _Forbidden(OSError):
    """Another machine answers than one that may be asked."""


def headers_with(key: str | None) -> dict[str, str]:
    return JSON | ({"Authorization": f"Bearer {key}"} if key is not None else {})


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, most: int, reaches: Reaches | None = None
) -> bytes:
    """The reply's body, of at most so many bytes. `timeout_s`: of each step; a reply may come byte by byte.

    Raises Passing, NotAsked and TooLong.
    """
    with _replied(url, body, headers, timeout_s, reaches) as reply:
        found: bytes = reply.read(most + 1)
    if len(found) > most:
        raise TooLong
    return found


def post_for_lines(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, most: int, reaches: Reaches | None = None
) -> Generator[bytes]:
    """The reply's lines as they come. Raises likewise."""
    left = most
    with _replied(url, body, headers, timeout_s, reaches) as reply:
        while line := reply.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise TooLong
            yield line


@contextmanager
def _replied(
    url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, reaches: Reaches | None
) -> Iterator[http.client.HTTPResponse]:
    try:
        request = urllib.request.Request(url, body, dict(headers), method="POST")
        with _opener(reaches).open(request, timeout=timeout_s) as reply:
            yield reply
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error) from None
    except (ValueError, http.client.InvalidURL):  # whose words repeat the header or the address
        raise NotAsked(Message("outside_cannot_be_asked")) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, _Forbidden):
            raise NotAsked(Message("address_never_asked")) from None
        if isinstance(reason, TimeoutError):
            raise silent(timeout_s) from None
        raise Passing(Message("written", text=f"{reason}" or type(error).__name__)) from None


def silent(timeout_s: float) -> Passing:
    return Passing(Message("outside_silent", seconds=timeout_s))


def _refused(error: urllib.error.HTTPError) -> Passing | NotAsked:
    why = Message("outside_status", status=error.code)
    if error.code in MAY_PASS or error.code >= 500:
        return Passing(why, error.code, _after_s(error.headers.get("Retry-After")))
    try:
        return NotAsked(why, error.code, error.read(MOST_SAID))
    except (OSError, http.client.HTTPException):
        return NotAsked(why, error.code)


def _after_s(given: str | None) -> float:
    """Of a Retry-After: seconds, or a moment. 0 for none, and for what is neither."""
    if given is None:
        return 0.0
    try:
        wait_s = float(given) if given.strip().isdigit() else parsedate_to_datetime(given).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, wait_s), MOST_PAUSE_S)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_what: Any) -> None:
        return None


class _Watched(http.client.HTTPConnection):
    """Looks at who answered before anything is said."""

    _reaches: Reaches

    @classmethod
    def by(cls, reaches: Reaches, *given: Any, **named: Any) -> Self:
        """Set afterwards: HTTPSConnection hands nothing on that it does not know."""
        made = cls(*given, **named)
        made._reaches = reaches
        return made

    def connect(self) -> None:
        super().connect()
        if not self._reaches(self.sock.getpeername()[0]):
            self.close()
            raise _Forbidden


class _WatchedTLS(http.client.HTTPSConnection, _Watched):
    """Likewise, before the other side is told even the name it is asked under."""


class _WatchedHandler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def __init__(self, reaches: Reaches) -> None:
        super().__init__()
        self._reaches = reaches

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        if _by_proxy(request):
            return super().http_open(request)
        return self.do_open(partial(_Watched.by, self._reaches), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        if _by_proxy(request):
            return super().https_open(request)
        watched = partial(_WatchedTLS.by, self._reaches)
        return self.do_open(watched, request, context=ssl.create_default_context())


def _by_proxy(request: urllib.request.Request) -> bool:
    """By what urllib has made of the request: over TLS a proxy opens a tunnel, else it is told the whole address."""
    return request.has_proxy() or getattr(request, "_tunnel_host", None) is not None


def _opener(reaches: Reaches | None) -> urllib.request.OpenerDirector:
    watched = [_WatchedHandler(reaches)] if reaches is not None else []
    return urllib.request.build_opener(_NoRedirect, *watched)
