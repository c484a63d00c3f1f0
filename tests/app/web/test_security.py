"""Keys as they arrive, passwords, form tokens."""

from __future__ import annotations

import pytest

from app.errors import Invalid
from app.web.security import digest, format_key, hash_password, parse_key, password_matches


def test_a_key_is_read_back_from_its_header() -> None:
    assert parse_key(f"Bearer {format_key(7, 'a_b-c')}") == (7, "a_b-c")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer tm_",
        "Bearer tm_x_y",
        "Basic tm_7_abc",
        "Bearer tm_٣_abc",
        "Bearer tm_-1_a",
        f"Bearer tm_{'9' * 30}_a",
        "Bearer \xff",
    ],
)
def test_anything_else_is_no_key(header: str) -> None:
    assert parse_key(header) is None


def test_a_password_matches_itself_alone() -> None:
    stored = hash_password("correct horse battery")
    assert stored.startswith("$argon2id$")
    assert password_matches("correct horse battery", stored)
    assert not password_matches("correct horse batterz", stored)
    assert not password_matches("correct horse battery", None)


def test_equal_passwords_are_stored_differently() -> None:
    assert hash_password("correct horse battery") != hash_password("correct horse battery")


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_passwords_of_no_use_are_refused(password: str) -> None:
    with pytest.raises(Invalid) as refusal:
        hash_password(password)
    assert password == "" or password not in refusal.value.detail


def test_a_secret_is_kept_as_its_hash() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
