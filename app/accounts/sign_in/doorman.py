"""Checking a password: throttled, in equal time whether or not the person exists, outside of any transaction."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from app.accounts.service import WRONG_SIGN_IN, find_user
from app.accounts.sign_in.throttle import ACCOUNT_TRIES, ADDRESS_TRIES, Throttle
from app.database.engine import read_session
from app.errors import Invalid
from app.language.languages import _
from app.web.security import password_matches


class Doorman:
    """Lets people in by email and password."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._accounts = Throttle(ACCOUNT_TRIES)
        self._addresses = Throttle(ADDRESS_TRIES)

    def check(self, email: str, password: str, address: str) -> int:
        """The id of the person. Raises TooMany, or Invalid with the same words whatever was wrong."""
        account = email.strip().casefold()[:320]
        self._accounts.check(account)
        self._addresses.check(address)
        found = self._look_up(account)
        if not password_matches(password, found.password_hash) or found.user_id is None:
            self._accounts.failed(account)
            self._addresses.failed(address)
            raise Invalid(_(WRONG_SIGN_IN))
        self._accounts.succeeded(account)
        return found.user_id

    def _look_up(self, account: str) -> _Found:
        with read_session(self._engine) as session:
            user = find_user(session, account)
            if user is None or user.disabled_at is not None:
                return _Found(None, None)
            return _Found(user.id, user.password_hash)


@dataclass(frozen=True)
class _Found:
    user_id: int | None
    password_hash: str | None
