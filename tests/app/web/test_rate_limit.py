"""Whoever calls too often is told when to come back; who annotates never is, and nobody uses up what is another's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.errors import TooManyCalls
from app.serve import configured
from app.settings import Settings
from app.web import rate_limit
from app.web.rate_limit import RateLimit

ME = "/api/v1/users/me"
Api = Callable[..., TestClient]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(app: FastAPI, settings: Settings) -> Clock:
    """Twelve calls of a key a minute, a hundred and twenty of an address, and a minute that passes when a test says so."""
    made = Clock()
    app.state.rate_limit = RateLimit(settings.model_copy(update={"api_calls_per_minute": 12}), made)
    return made


def calls(client: TestClient, count: int, path: str = ME) -> list[int]:
    return [client.get(path).status_code for _ in range(count)]


def test_a_minutes_calls_may_come_at_once_and_then_one_in_five_seconds(api: Api, clock: Clock) -> None:
    program = api("annotate")
    assert calls(program, 13) == [200] * 12 + [429]
    clock.now += 5
    assert calls(program, 2) == [200, 429]
    clock.now += 3600
    assert calls(program, 13) == [200] * 12 + [429]


@pytest.mark.parametrize("a_minute", [7, 49, 110, 1_203])
def test_no_call_of_a_minutes_worth_is_lost_to_rounding(settings: Settings, a_minute: int) -> None:
    clock = Clock()
    for clock.now in (0.1, 1000.3, 123_456.7):
        limit = RateLimit(settings.model_copy(update={"api_calls_per_minute": a_minute}), clock)
        for _ in range(a_minute):
            limit.count_key("1")
        with pytest.raises(TooManyCalls):
            limit.count_key("1")


def test_the_refusal_is_a_problem_that_says_when_to_come_back(api: Api, clock: Clock) -> None:
    program = api("annotate")
    calls(program, 12)
    refused = program.get(ME)
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert refused.headers["retry-after"] == "5"
    assert (refused.json()["title"], refused.json()["detail"]) == (
        "Too many calls",
        "Too many calls: at most 12 a minute. Please wait 5 seconds.",
    )


def test_another_key_and_whoever_is_signed_in_are_not_slowed(
    api: Api, as_user: Callable[[str], TestClient], clock: Clock
) -> None:
    assert calls(api("annotate"), 13)[-1] == 429
    assert calls(api("annotate"), 1) == [200]
    assert calls(as_user("annotator"), 20) == [200] * 20


def test_a_stranger_who_knows_a_keys_number_uses_up_nothing_of_it(api: Api, clock: Clock) -> None:
    program, stranger = api("annotate"), api("annotate")
    right = program.headers["authorization"]
    stranger.headers["authorization"] = right[: right.rindex("_")] + "_" + "0" * 43
    assert calls(stranger, 20) == [401] * 20
    assert calls(program, 1) == [200]


def test_an_address_has_ten_times_as_many_and_whoever_shows_no_key_is_counted_too(app: FastAPI, clock: Clock) -> None:
    here, elsewhere = (TestClient(app, base_url="http://localhost", client=(one, 5)) for one in ("203.0.113.9", "203.0.113.10"))
    assert calls(here, 121) == [401] * 120 + [429]
    assert calls(elsewhere, 1) == [401]
    assert calls(here, 1, "/sign-in") == [200], "pages are not the API"


def test_a_proxy_that_tells_addresses_is_not_counted_and_the_clients_are(app: FastAPI, settings: Settings, clock: Clock) -> None:
    config = configured(app, settings)
    config.load()
    proxy = TestClient(config.loaded_app, base_url="http://localhost", client=("127.0.0.1", 5))
    assert calls(proxy, 140) == [401] * 140
    proxy.headers["x-forwarded-for"] = "2001:db8:1:2:3::4"
    assert calls(proxy, 121)[-1] == 429
    proxy.headers["x-forwarded-for"] = "2001:db8:1:2:ffff::1"  # the same network
    assert calls(proxy, 1) == [429]
    proxy.headers["x-forwarded-for"] = "2001:db8:1:3::1"
    assert calls(proxy, 1) == [401]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "REMEMBERED", 3)
    limit = RateLimit(Settings(api_calls_per_minute=60), Clock())
    for _ in range(60):
        limit.count_key("1")
    for other in ("2", "3"):
        limit.count_key(other)
    with pytest.raises(TooManyCalls):
        limit.count_key("1")
    for other in ("4", "5", "6"):
        limit.count_key(other)
    assert len(limit._paid_off) == 3
    limit.count_key("1")
