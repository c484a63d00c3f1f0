"""Addresses of models outside: what one may look like, and which machines are asked behind it.

Checked where the owner writes one down, by its words, and again whenever a connection is made, by the machine that answered: a
name may lead elsewhere tomorrow. What only this machine can reach must never be read through a form.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from trainer.contract.messages import Message

CHAT: Final = "/chat/completions"
# Where clouds tell a machine its own passwords, at addresses that are not link-local.
METADATA: Final = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"})
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: how a network without IPv4 reaches addresses of IPv4

Number = ipaddress.IPv4Address | ipaddress.IPv6Address


def base_of(address: str) -> str:
    """As it is kept: without what every client puts behind it."""
    return address.strip().removesuffix("/").removesuffix(CHAT).rstrip("/")


def problem_with(address: str, *, own_network: bool) -> Message | None:
    """Why nobody is asked at such an address; None where it looks right. What was given is not repeated: it may hold a key."""
    try:
        url = urlsplit(address)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and address.isascii()
        usable = usable and "%" not in url.netloc  # whoever connects reads another host out of it
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
    reserved = found.is_reserved and not found.is_loopback
    return reserved or _is_local(found) or found.is_multicast or found.is_unspecified or str(found) in METADATA


def _is_local(found: Number) -> bool:
    return found.is_link_local or (isinstance(found, ipaddress.IPv6Address) and found.is_site_local)


def ip_of(host: str) -> Number | None:
    """The address that is written there. An IPv4 address inside of an IPv6 one, for whoever translates, is that IPv4 address."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if found in NAT64:
        return ipaddress.IPv4Address(found.packed[-4:])
    return found.ipv4_mapped or found.sixtofour or found
