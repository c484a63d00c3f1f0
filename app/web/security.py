"""Who is calling: passwords, sessions, API keys, form tokens. What they may do is in `app/web/permissions.py`.

Session ids and key secrets are 256 random bits, so one round of SHA-256 hides them well enough and costs a microsecond.
Passwords are guessable, so they get argon2; whoever serves requests lets `app/accounts/sign_in/hashing.py` do it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from fastapi import Depends, Request
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from starlette.requests import HTTPConnection

from app.errors import Invalid, NotSignedIn, Unavailable
from app.language.languages import _
from app.settings import Settings

Role = Literal["annotator", "reviewer", "admin"]
Scope = Literal["annotate", "export", "generate", "admin"]

SESSION_DAYS = 30
SEEN_EVERY_S = 60  # a session or a key notes its use at most this often
MIN_PASSWORD = 10
MAX_PASSWORD = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """The person behind a request, and how they proved it. `role` is theirs in the project of the path, if there is one."""

    user_id: int
    name: str
    email: str
    is_owner: bool
    via: Literal["session", "key"]
    scopes: frozenset[str] = frozenset()
    role: Role | None = None
    archived: bool = False  # the project of the path is put away: it is read, and nothing of it changes
    practice_due: bool = False  # an annotator there who has to practise before real tasks open
    paused: bool = False  # asked nothing there at present
    closed: bool = False  # nobody is given a new task there: the hours of this month are used
    audiences: tuple[str, ...] = ()  # that prompts there have
    languages: tuple[str, ...] = ()  # theirs there, in which they are asked; none said: in all
    skills: tuple[str, ...] = ()
    language: str | None = None  # the one they chose; None: what their browser asks for
    project_ids: frozenset[int] | None = None  # of a key that is bound to projects: the only ones it works in
    second_factor_due: bool = False  # an admin who has none, where the owner says that admins need one
    credential: str = ""  # hash of the session id, or the id of the key: names the one in use in the account's lists

    def may(self, scope: Scope) -> bool:
        """Whether the credential covers the scope; `admin` covers the others, and a session covers all."""
        return self.via == "session" or scope in self.scopes or "admin" in self.scopes


async def caller(request: Request) -> Principal:
    return signed_in(request)


def signed_in(request: Request) -> Principal:
    """The signed-in person. The rules have already let the request in; a public route may still have nobody."""
    principal = current_principal(request)
    if principal is None:
        raise NotSignedIn(_("Sign in to go on."))
    return principal


Caller = Annotated[Principal, Depends(caller)]


def current_principal(request: HTTPConnection) -> Principal | None:
    principal: Principal | None = request.scope.get("state", {}).get("principal")
    return principal


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal; for secrets of 256 random bits only."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    return secrets.token_urlsafe(32)


# API keys: tm_<id>_<secret>


def format_key(key_id: int, secret: str) -> str:
    return f"tm_{key_id}_{secret}"


def parse_key(header: str) -> tuple[int, str] | None:
    """The id and secret of `Authorization: Bearer tm_<id>_<secret>`; None for anything else, however odd."""
    kind, _, key = header.partition(" ")
    mark, _, rest = key.strip().partition("_")
    key_id, _, secret = rest.partition("_")
    if kind.lower() != "bearer" or mark != "tm" or not (header.isascii() and key_id.isdigit()) or len(key_id) > 18:
        return None
    return int(key_id), secret


# Cookies


def session_cookie(settings: Settings) -> str:
    """The cookie's name; the `__Host-` prefix makes browsers refuse one set by a neighbouring host or without TLS."""
    return "__Host-tastemaker" if settings.secure_cookies else "tastemaker"


def device_cookie(settings: Settings) -> str:
    """What a browser keeps when its session ends, so that it is no stranger to the throttle."""
    return session_cookie(settings) + "_device"


def visitor_cookie(settings: Settings) -> str:
    return session_cookie(settings) + "_visitor"


# Form tokens


def form_token(request: HTTPConnection) -> str:
    """The token every form carries: tied to the session, or to a visitor's cookie before there is one.

    For a new visitor the cookie is set by the middleware, with the reply that carries the form.
    """
    state = request.scope.setdefault("state", {})
    settings: Settings = request.app.state.settings
    cookie = session_cookie(settings) if current_principal(request) else visitor_cookie(settings)
    secret = request.cookies.get(cookie) or state.get("new_visitor")
    if not secret:
        secret = state["new_visitor"] = new_secret()
    return token_of(secret)


def form_token_matches(request: HTTPConnection, given: str) -> bool:
    settings: Settings = request.app.state.settings
    cookie = session_cookie(settings) if current_principal(request) else visitor_cookie(settings)
    secret = request.cookies.get(cookie)
    return secret is not None and hmac.compare_digest(token_of(secret).encode(), given.encode("utf-8", "surrogatepass"))


def token_of(secret: str) -> str:
    return hmac.new(secret.encode("utf-8", "surrogatepass"), b"form token", hashlib.sha256).hexdigest()


# Passwords

_hasher = PasswordHash((Argon2Hasher(),))
_two_at_a_time = threading.BoundedSemaphore(2)  # 64 MiB and a tenth of a second each


@lru_cache(maxsize=1)
def _nobody() -> str:
    return _hasher.hash(new_secret())


def hash_password(password: str) -> str:
    """Raises Invalid for a password too short to protect anything or too long to hash."""
    refuse_wrong_length(password)
    return _hasher.hash(password)


def refuse_wrong_length(password: str) -> None:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Invalid(
            _(
                "A password needs %(least)s to %(most)s characters. A sentence you can remember is best.",
                least=MIN_PASSWORD,
                most=MAX_PASSWORD,
            ),
            {"password": _("%(least)s to %(most)s characters", least=MIN_PASSWORD, most=MAX_PASSWORD)},
        )


def password_matches(password: str, stored: str | None) -> bool:
    """Takes the same time for a person who does not exist (`stored` None) as for a wrong password."""
    if len(password) > MAX_PASSWORD:
        return False
    with _hashing():
        return _hasher.verify(password, stored or _nobody()) and stored is not None


class _hashing:
    def __enter__(self) -> None:
        if not _two_at_a_time.acquire(timeout=5):
            raise Unavailable(_("Too many people are signing in at once. Please try again in a moment."))

    def __exit__(self, *ended: object) -> None:
        _two_at_a_time.release()
