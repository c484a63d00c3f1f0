"""Checking a password: behind what is cheap and a throttle, in equal time whether or not the person exists.

A browser that has signed in to the account before has tries of its own, which no stranger uses up. A stranger has tries by
account and address, so that one who guesses from elsewhere keeps nobody out, and by address alone, whoever they try to be.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

from anyio import to_thread
from sqlalchemy import Engine, exists, select

from app.accounts.second_factor import service as second_factor
from app.accounts.second_factor.service import Match
from app.accounts.service import WRONG_SIGN_IN, find_user
from app.accounts.sign_in.failures import FailureLog
from app.accounts.sign_in.hashing import Hashing
from app.accounts.sign_in.throttle import Limit, Throttle
from app.database.engine import read_session
from app.errors import Invalid, Unavailable
from app.language.languages import _
from app.models import SignInSession
from app.web.rate_limit import network_of
from app.web.security import MAX_PASSWORD, digest, password_matches

ACCOUNT_TRIES: Final = 5  # of one browser, or of one address
ADDRESS_TRIES: Final = 30  # at any account, from browsers that are new there
STRANGERS_TRIES: Final = 100  # at one account, from all addresses together
LINK_TRIES: Final = 20  # of passwords at one invitation or password link


@dataclass(frozen=True)
class Visitor:
    """Where a try comes from."""

    address: str
    device: str  # the cookie a browser has kept since somebody signed in with it; "" for a new one

    @property
    def network(self) -> str:
        return network_of(self.address)


class Doorman:
    """Lets people in by email and password."""

    def __init__(self, engine: Engine, hashing: Hashing, failures: FailureLog) -> None:
        self._engine = engine
        self._hashing = hashing
        self._failures = failures
        self._throttle = Throttle()

    async def check(self, email: str, password: str, visitor: Visitor) -> int:
        """The id of the person. Raises TooMany, or Invalid with the same words whatever was wrong."""
        account = unicodedata.normalize("NFKC", email.strip()[:320]).casefold()
        if "@" not in account or not 0 < len(password) <= MAX_PASSWORD:
            raise Invalid(_(WRONG_SIGN_IN))
        found = await to_thread.run_sync(self._look_up, account, visitor.device)
        limits = _limits(account, visitor, found.knows_device)
        self._throttle.begin(*limits)
        try:
            right = await self._hashing.run(password_matches, password, found.password_hash)
        except Unavailable:
            self._throttle.take_back(*limits)
            raise
        if not right or found.user_id is None:
            self._failures.note(found.user_id, visitor.address)
            raise Invalid(_(WRONG_SIGN_IN))
        self._throttle.take_back(*limits[1:])
        self._throttle.forget(limits[0])
        return found.user_id

    async def check_own(self, email: str, password: str, visitor: Visitor) -> None:
        """The password of somebody who is signed in. Raises Invalid at its field, and TooMany."""
        try:
            await self.check(email, password, visitor)
        except Invalid:
            sentence = _("That is not your current password.")
            raise Invalid(sentence, {"current": _("Not your current password.")}) from None

    async def check_code(self, user_id: int, code: str, visitor: Visitor) -> Match:
        """What the code of a second factor is; it is still to be used. Raises TooMany, and Invalid at its field.

        Tries are counted by person: nobody comes this far without the password.
        """
        limit = Limit(f"code of {user_id}", ACCOUNT_TRIES)
        self._throttle.begin(limit)
        match = await to_thread.run_sync(self._find_code, user_id, code)
        if match is None:
            self._failures.note(user_id, visitor.address, "code")
            raise second_factor.wrong_code()
        self._throttle.forget(limit)
        return match

    def _find_code(self, user_id: int, code: str) -> Match | None:
        with read_session(self._engine) as session:
            return second_factor.find(session, user_id, code)

    def knock(self, token: str) -> None:
        """One try at choosing a password behind a link. Raises TooMany."""
        self._throttle.begin(Limit(f"link {digest(token)}", LINK_TRIES))

    def _look_up(self, account: str, device: str) -> _Found:
        with read_session(self._engine) as session:
            user = find_user(session, account)
            if user is None or user.disabled_at is not None:
                return _Found(None, None, False)
            known = exists().where(SignInSession.user_id == user.id, SignInSession.device_hash == digest(device))
            return _Found(user.id, user.password_hash, bool(device) and bool(session.scalar(select(known))))


@dataclass(frozen=True)
class _Found:
    user_id: int | None
    password_hash: str | None
    knows_device: bool


def _limits(account: str, visitor: Visitor, knows_device: bool) -> tuple[Limit, ...]:
    """The first is this caller's own; the others they share."""
    if knows_device:
        return (Limit(f"{account} on {digest(visitor.device)}", ACCOUNT_TRIES),)
    return (
        Limit(f"{account} from {visitor.network}", ACCOUNT_TRIES),
        Limit(f"from {visitor.network}", ADDRESS_TRIES),
        Limit(f"{account} from anywhere", STRANGERS_TRIES),
    )
