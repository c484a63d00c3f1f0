from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from app.errors import Invalid
from app.webhooks.addresses import Unreachable, check, place_of


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/hooks?team=a",
        "https://example.org:8443/",
        "http://localhost:9000/hooks",
        "http://127.0.0.1:9000",
        "http://[::1]:9000/hooks",
        "http://192.168.1.20/hooks",
        "  https://example.org/hooks\n",
    ],
)
def test_receivers_of_the_web_and_of_ones_own_network_can_be_registered(address: str) -> None:
    assert check(address) == address.strip()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https://example.org:99999/",
        "https://[::1/",
        "https://user:secret@example.org/",
        "https://example.org/#here",
        "https://100.100.100.200/latest/meta-data",  # where a cloud tells a machine its own passwords
        "https://example.org/a b",
        "https://example.org/\0",
        "https://exam\x1bple.org/",
        "https://example.org/\x7f",
        "https://ex\u00e4mple.org/",
        "https://example.org/" + "a" * 500,
        "http://8.8.8.8/hooks",
        "http://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://0.0.0.0/",
        "https://[::]/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
    ],
)
def test_anything_else_is_refused_in_words(address: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(address)
    assert "address" in refused.value.fields


def test_a_name_is_looked_up_when_something_is_sent() -> None:
    place = place_of("http://localhost:9000/hooks")
    assert set(place.numbers) <= {"127.0.0.1", "::1"}
    assert (place.numbers != (), place.host, place.port) == (True, "localhost", 9000)
    with pytest.raises(Unreachable):
        place_of("https://no-such-host.invalid/")
    with pytest.raises(Unreachable):
        place_of("http://2130706433.invalid/")


def leading_to(*numbers: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A resolver that finds these for every name."""
    return lambda _host, port, **_asked: [(0, 0, 0, "", (number, port)) for number in numbers]


def test_all_numbers_of_a_name_are_kept_as_they_are_connected_to_and_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without IPv4 reaches addresses of IPv4 by numbers of its own, which are those of the addresses meant."""
    monkeypatch.setattr(socket, "getaddrinfo", leading_to("64:ff9b::808:808", "8.8.8.8", "8.8.8.8"))
    assert place_of("https://hooks.example.org/").numbers == ("64:ff9b::808:808", "8.8.8.8")
    for refused in ("169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fec0::1"):
        monkeypatch.setattr(socket, "getaddrinfo", leading_to("8.8.8.8", refused))
        with pytest.raises(Unreachable):
            place_of("https://hooks.example.org/")
