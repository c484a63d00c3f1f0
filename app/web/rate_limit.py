"""How many API calls a key and an address may make: a minute's worth at once, and no more than that a minute in the long run.

Counted in memory of the one process, by the moment at which the calls so far would be paid off (the generic cell rate algorithm):
one number for each name. Not safe across threads: the gate asks on the event loop.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from app.errors import TooManyCalls
from app.language.languages import ngettext
from app.settings import Settings

WINDOW_S: Final = 60.0
ADDRESSES_SHARE: Final = 10  # times what one key may: an office of annotators stands behind one address
ROUNDING_S: Final = 1e-6  # a minute is not a whole number of most things: no call is lost to the last digit
REMEMBERED: Final = 20_000  # names; whoever has not called for longest is forgotten first

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network_of(address: str) -> str:
    """What one household or office shares: an address, of IPv6 the half that its provider gives."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:60]
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


class RateLimit:
    """Of all calls of the API. A proxy that tells no client's address is everybody, so its own is not counted."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_minute = settings.api_calls_per_minute
        self._proxies = [network for proxy in settings.trusted_proxies for network in _networks(proxy)]
        self._clock = clock
        self._paid_off: OrderedDict[str, float] = OrderedDict()
        self._name_of = lru_cache(maxsize=REMEMBERED)(self._read)

    def count_address(self, address: str) -> None:
        """Before anybody asks who calls. Raises TooManyCalls."""
        name = self._name_of(address)
        if name is not None:
            self._count(name, self._a_minute * ADDRESSES_SHARE)

    def count_key(self, key: str) -> None:
        """Once the key is known to be right: a stranger who knows its number uses up nothing of it. Raises TooManyCalls."""
        self._count(f"key {key}", self._a_minute)

    def _count(self, name: str, a_minute: int) -> None:
        now = self._clock()
        paid_off = max(self._paid_off.get(name, now), now) + WINDOW_S / a_minute
        wait_s = math.ceil(paid_off - now - WINDOW_S - ROUNDING_S)
        if wait_s > 0:
            raise TooManyCalls(
                ngettext(
                    "Too many calls: at most %(most)s a minute. Please wait %(num)s second.",
                    "Too many calls: at most %(most)s a minute. Please wait %(num)s seconds.",
                    wait_s,
                    most=a_minute,
                ),
                wait_s,
            )
        self._paid_off[name] = paid_off
        self._paid_off.move_to_end(name)
        if len(self._paid_off) > REMEMBERED:
            self._paid_off.popitem(last=False)

    def _read(self, address: str) -> str | None:
        """The name it is counted under, none of a proxy. To read an address takes as long as all the counting."""
        name = f"address {network_of(address)}"
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return name
        return None if any(found in network for network in self._proxies) else name


def _networks(proxy: str) -> list[_Network]:
    """None of a name, which the server compares letter by letter."""
    try:
        return [ipaddress.ip_network(proxy, strict=False)]
    except ValueError:
        return []
