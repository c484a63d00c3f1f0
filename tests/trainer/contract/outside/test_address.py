"""Which addresses a model outside may have, by its words and by the machine behind it."""

from __future__ import annotations

import pytest

from trainer.contract.outside.address import base_of, may_reach, problem_with


@pytest.mark.parametrize(
    "address", ["https://api.openai.com/v1", "https://[2606:4700::1111]:8443", "https://8.8.8.8/v1", "https://models.example.org"]
)
def test_addresses_of_the_internet_are_usable_over_tls(address: str) -> None:
    assert problem_with(address, own_network=False) is None
    assert problem_with(address, own_network=True) is None


@pytest.mark.parametrize(
    "address",
    [
        *("http://localhost:11434/v1", "https://localhost", "http://127.0.0.1:8000/v1", "http://10.0.0.7/v1", "http://[::1]/v1"),
        *(
            "http://[fd12::1]/v1",
            "http://vllm.lan/v1",
            "http://api.openai.com/v1",
            "https://100.64.0.1/v1",
            "http://[::ffff:127.0.0.1]/",
        ),
        "http://a.localhost./v1",
    ],
)
def test_ones_own_network_and_plain_http_are_to_be_meant(address: str) -> None:
    problem = problem_with(address, own_network=False)
    assert problem is not None
    assert problem.code == "address_of_own_network"
    assert problem_with(address, own_network=True) is None


@pytest.mark.parametrize(
    ("address", "code"),
    [
        *(
            (one, "no_address")
            for one in ("", "api.openai.com", "ftp://a.org", "file:///etc/passwd", "https://", "https://a.org:0")
        ),
        *(
            (one, "no_address")
            for one in ("https://a.org/v1?key=1", "https://a.org/#x", "https://a.org/ v1", "https://a.org:99999")
        ),
        *((one, "no_address") for one in ("https://äpi.org/v1", "https://[::1/v1", "https://a.org/\x00", "gopher://127.0.0.1")),
        *((one, "address_names_a_user") for one in ("https://me@a.org", "https://me:pass@a.org/v1", "https://:pass@a.org")),
        *((f"http://{one}/latest", "address_never_asked") for one in ("169.254.169.254", "[fe80::1]", "[fd00:ec2::254]")),
        *((f"http://{one}/", "address_never_asked") for one in ("100.100.100.200", "0.0.0.0", "[::]", "224.0.0.1")),
        ("http://[::ffff:169.254.169.254]/", "address_never_asked"),
        *((f"http://[{one}]/", "address_never_asked") for one in ("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fec0::1")),
        *((f"https://{one}/v1", "no_address") for one in ("%31%32%37.0.0.1:8443", "localhos%74", "%31%36%39.254.169.254")),
    ],
)
def test_nothing_else_is_whatever_was_ticked(address: str, code: str) -> None:
    problem = problem_with(address, own_network=True)
    assert problem is not None
    assert problem.code == code


def test_the_machine_that_answers_is_what_counts() -> None:
    assert may_reach("93.184.216.34", own_network=False)
    assert may_reach("64:ff9b::5db8:d822", own_network=False), "93.184.216.34, as a network without IPv4 reaches it"
    translated = ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:c0a8:9::1")
    for own in ("127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd12::1", *translated):
        assert not may_reach(own, own_network=False)
        assert may_reach(own, own_network=True)
    for never in ("169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "::ffff:169.254.169.254", "0.0.0.0", "fec0::1", "no ip"):
        assert not may_reach(never, own_network=True)


def test_what_every_client_puts_behind_an_address_is_not_kept() -> None:
    assert base_of(" https://a.org/v1/chat/completions ") == "https://a.org/v1"
    assert base_of("https://a.org/v1/") == base_of("https://a.org/v1") == "https://a.org/v1"
