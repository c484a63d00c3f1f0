"""Addresses of models outside: what one may look like, and which machines are asked behind it.

Checked where the owner writes one down, by its words, and again whenever a connection is made, by the machine that answered: a
name may lead elsewhere tomorrow. What only this machine can reach must never be read through a form.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from trainer.contract.messages import Message

CHAT: Final = "/chat/completions"
KEY_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,79}_API_KEY")  # no other secret can be sent anywhere by naming its variable
# Where clouds tell a machine its own passwords, at addresses that are not link-local.
METADATA: Final = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"})


def base_of(address: str) -> str:
    """As it is kept: without what every client puts behind it."""
    return address.strip().removesuffix("/").removesuffix(CHAT).rstrip("/")


def problem_with(address: str, *, own_network: bool) -> Message | None:
    """Why nobody is asked at such an address; None where it looks right. What was given is not repeated: it may hold a key."""
    try:
        url = urlsplit(address)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and address.isascii()
    except ValueError:
        usable = False
    if not usable or any(sign.isspace() or not sign.isprintable() for sign in address) or url.query or url.fragment:
        return Message("no_address", example="https://api.example.org/v1")
    if url.username is not None or url.password is not None:
        return Message("address_names_a_user")
    host = (url.hostname or "").rstrip(".")
    here = host == "localhost" or host.endswith(".localhost")
    if (literal := ip_of(host)) is not None:
        if is_never_asked(host):
            return Message("address_never_asked")
        here = not literal.is_global
    if not own_network and (here or url.scheme == "http"):
        return Message("address_of_own_network")
    return None


def may_reach(ip: str, *, own_network: bool) -> bool:
    """Whether the machine that answered may be asked: one of the internet, or any of our own network where the owner said so."""
    found = ip_of(ip)
    return found is not None and not is_never_asked(ip) and (own_network or found.is_global)


def is_never_asked(ip: str) -> bool:
    """Link-local addresses, where clouds keep their machines' secrets, others of that kind, and what is no single machine."""
    found = ip_of(ip)
    if found is None:
        return True
    return found.is_link_local or found.is_multicast or found.is_unspecified or str(found) in METADATA


def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that is written there. An IPv4 address inside of an IPv6 one is that IPv4 address."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
