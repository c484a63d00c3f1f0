"""Which addresses are asked: those of the web, whose name or number leads to no device of the network itself."""

from __future__ import annotations

import socket
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from app.errors import Invalid
from app.language.languages import _
from app.models.values import storable
from trainer.contract.messages import Message
from trainer.contract.outside.address import Number, ip_of, is_never_asked

MOST_CHARACTERS: Final = 500
MOST_NUMBERS: Final = 4  # of a name that are tried, all within the time that a try is claimed for


class Place(NamedTuple):
    """Where a request goes: the numbers that were looked at are those that are connected to, whatever the name says next."""

    numbers: tuple[str, ...]  # in the resolver's order
    host: str  # as the address names it: for the Host line, and for the certificate
    port: int | None
    is_secure: bool


class Unreachable(Exception):
    """Why nothing is sent there."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


def check(address: str) -> str:
    """The address as it is kept. Raises Invalid, in words for whoever registers it. Its name is looked up only to send."""
    address = address.strip()
    try:
        parts = urlsplit(address)
        known = (parts.scheme, parts.hostname, parts.port)
    except ValueError:
        known = ("", None, None)
    scheme, host, _port = known
    is_plain = address.isascii() and address.isprintable()
    if scheme not in ("http", "https") or not host or len(address) > MOST_CHARACTERS or not is_plain:
        raise Invalid(_("Give a whole address, such as https://example.org/hooks."), {"address": _("not an address of the web")})
    if "@" in parts.netloc or parts.fragment or any(one.isspace() for one in address):
        raise Invalid(
            _("Leave out names, passwords and what follows a # sign: what is sent is signed already."),
            {"address": _("holds more than an address")},
        )
    if (number := ip_of(host)) is not None and _is_refused(number, is_secure=scheme == "https"):
        raise Invalid(
            _("Nothing is sent to addresses of the network itself, nor over the public network without https."),
            {"address": _("take another")},
        )
    return address


def place_of(address: str) -> Place:
    """Look the name up, at the moment of sending. Raises Unreachable."""
    parts = urlsplit(address)
    host, is_secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(Message("webhook_name_unknown", host=host, error=str(storable(str(error)[:200])))) from error
    numbers = {number: known for *_kind, where in found if (known := ip_of(number := str(where[0]))) is not None}
    if not numbers or any(_is_refused(known, is_secure=is_secure) for known in numbers.values()):
        raise Unreachable(Message("webhook_place_refused", host=host))
    return Place(tuple(numbers)[:MOST_NUMBERS], host, parts.port, is_secure)


def _is_refused(number: Number, *, is_secure: bool) -> bool:
    """One's own machine and network are let through: an installation's receivers usually stand there."""
    return is_never_asked(str(number)) or (number.is_global and not is_secure)
