"""One request to an address of others: who is talked to, what comes back, and how long they want to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import pytest

from tests.trainer.contract.outside.chat_server import no, serving
from trainer.contract.outside.address import may_reach
from trainer.contract.outside.post import MOST_PAUSE_S, NotAsked, Passing, TooLong, headers_with, post

send = partial(post, body=b'{"messages": [{"content": "Hello"}]}', headers=headers_with(None), timeout_s=5, most=10_000)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_a_reply_comes_whole_or_not_at_all() -> None:
    with serving() as there:
        assert b"You said: Hello" in send(there.address)
        with pytest.raises(TooLong):
            post(there.address, b'{"messages": [{"content": "Hello"}]}', headers_with(None), timeout_s=5, most=20)


def test_the_machine_that_answers_is_looked_at_before_a_word_is_said() -> None:
    with serving() as there:
        with pytest.raises(NotAsked):
            send(there.address, reaches=partial(may_reach, own_network=False))
        assert there.asked == []
        assert send(there.address, reaches=partial(may_reach, own_network=True))


@pytest.mark.parametrize(
    ("given", "wait_s"),
    [("7", 7), ("9" * 400, MOST_PAUSE_S), *((odd, 0) for odd in ("soon", "-3", "1e9", "", "Mon, 99 Foo 2026"))],
)
def test_how_long_to_wait_is_heard_in_seconds(given: str, wait_s: float) -> None:
    assert told_to_wait(given) == wait_s


@pytest.mark.parametrize(("from_now_s", "least", "most"), [(3000, 2900, 3001), (-30, 0, 0)])
def test_how_long_to_wait_is_heard_as_a_moment(from_now_s: int, least: float, most: float) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=from_now_s)
    assert least <= told_to_wait(format_datetime(moment, usegmt=True)) <= most


def told_to_wait(given: str) -> float:
    """The seconds to leave them alone that are heard out of a header."""
    with serving(lambda _body, _number: no(503, headers={"Retry-After": given})) as there, pytest.raises(Passing) as refused:
        send(there.address)
    return refused.value.after_s


@pytest.mark.parametrize(
    "url", ["https://a..b/v1", "http://127.0.0.1:s3cret/v1", "http://[::1/s3cret", "http://127.0.0.1/s3cret v1"]
)
def test_what_no_request_can_be_made_of_is_refused_once_and_not_repeated(url: str) -> None:
    with pytest.raises(NotAsked) as refused:
        send(url)
    assert "s3cret" not in str(refused.value)
    with serving() as there, pytest.raises(NotAsked) as refused:
        post(there.address, b"{}", headers_with("s3cret\n"), timeout_s=5, most=100)
    assert (there.asked, "s3cret" in str(refused.value)) == ([], False)


def test_tls_is_spoken_to_a_machine_that_may_be_asked() -> None:
    """The server speaks none, which is said by who tried."""
    with serving() as there, pytest.raises(Passing, match="SSL"):
        send(there.address.replace("http:", "https:"), reaches=partial(may_reach, own_network=True))


@pytest.mark.parametrize("host", ["%31%32%37.0.0.1", "localhos%74"])
def test_a_host_is_looked_at_however_it_is_written(host: str) -> None:
    with serving() as there, pytest.raises(NotAsked, match="No model is asked at such an address"):
        send(there.address.replace("127.0.0.1", host), reaches=partial(may_reach, own_network=False))
    assert there.asked == []


def test_a_proxy_of_the_environment_does_the_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in one's own network, and what it reaches is its business."""
    monkeypatch.delenv("no_proxy")
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.address.removesuffix("/v1"))
        assert b"You said" in send("http://models.example.org/v1", reaches=partial(may_reach, own_network=False))
    assert proxy.paths == ["http://models.example.org/v1"]
