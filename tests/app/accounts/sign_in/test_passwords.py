"""Passwords that are guessed in few tries are refused, with the reason in the reader's language."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from app.accounts.sign_in.passwords import hash_new_password, weakness
from app.database.engine import read_session
from app.models import User
from app.web.security import MIN_PASSWORD
from tests.app.accounts.test_invitations import PERSON, accept, invite
from tests.app.conftest import Cast


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("1234567890", "passwords"),
        ("qwertyuiop", "passwords"),
        ("Password2024", "passwords"),
        ("aaaaaaaaaa", "repeat"),
        ("abcabcabcabc", "repeat"),
        ("zxcvbnm,./", "spatial"),
        ("ninahagen1", "mine"),
        ("nina@example.org", "mine"),
        ("tastemaker1", "mine"),
    ],
)
def test_what_is_tried_first_is_no_password(password: str, reason: str) -> None:
    assert weakness(password, "Nina Hagen", "nina@example.org") == reason


@pytest.mark.parametrize("password", ["a sentence to remember", "correct horse battery", "kx7 mvq2 tt", "我最喜歡喝珍珠奶茶了"])
def test_a_sentence_or_a_random_one_is_good(password: str) -> None:
    assert weakness(password, "Nina Hagen", "nina@example.org") is None
    assert hash_new_password(password).startswith("$argon2")


def test_a_password_made_to_take_long_does_not() -> None:
    weakness("warm the lists up first")
    began = time.thread_time()
    for piece in ("1a", "llll1111!!!!||||", "4@8({<[cgge3"):
        weakness(piece * 200, "Nina")
    assert time.thread_time() - began < 1.5


def test_who_joins_reads_why_their_password_is_refused(visitor: TestClient, engine: Engine, cast: Cast) -> None:
    token = invite(engine, cast)

    reply = accept(visitor, token, **PERSON | {"password": "1234567890"})

    assert reply.status_code == 422
    assert "It is one of the passwords that are tried first" in reply.text
    visitor.headers["accept-language"] = "zh-TW"
    assert "這是最先被試的密碼之一" in accept(visitor, token, **PERSON | {"password": "1234567890"}).text
    with read_session(engine) as session:
        assert session.scalar(select(User).where(User.email == PERSON["email"])) is None
    assert accept(visitor, token, **PERSON).status_code == 303, "the invitation is not used up"


def test_the_sign_in_page_names_the_command_for_a_lost_link(visitor: TestClient) -> None:
    assert "<code>bin/tastemaker admin-link</code>" in visitor.get("/sign-in").text


def test_no_password_of_the_common_ones_is_taken() -> None:
    """zxcvbn ships the thirty thousand that are used most: enough, as its estimate also sees through what people add to them."""
    common = [password for password in FREQUENCY_LISTS["passwords"] if len(password) >= MIN_PASSWORD]
    assert len(common) > 300
    assert [password for password in common if weakness(password) is None] == []
