from __future__ import annotations

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
    assert (place.number in ("127.0.0.1", "::1"), place.host, place.port) == (True, "localhost", 9000)
    with pytest.raises(Unreachable):
        place_of("https://no-such-host.invalid/")
    with pytest.raises(Unreachable):
        place_of("http://2130706433.invalid/")
