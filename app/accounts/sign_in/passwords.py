"""New passwords: long enough, and none that is tried first."""

from __future__ import annotations

from threading import Lock
from typing import Any, Final

from app.errors import Invalid
from app.language.languages import N_, _, known
from app.web.security import hash_password, refuse_wrong_length

LEAST_SCORE: Final = 2  # of zxcvbn, from 0 to 4: more than a million guesses
LOOKED_AT: Final = 48  # characters; the estimate takes a tenth of a second for these at worst
_ONE_AT_A_TIME: Final = Lock()  # the library keeps the words about one person where every thread sees them

_REASONS: Final = {
    "mine": N_("It is made of your name, your email address or the name of this platform."),
    "passwords": N_("It is one of the passwords that are tried first, or close to one."),
    "words": N_("It is a common word or name with little added."),
    "repeat": N_("It repeats the same few characters."),
    "spatial": N_("It is a row of neighbouring keys."),
    "sequence": N_("Its characters follow each other, like abc or 123."),
    "date": N_("It is a date or a year with little added."),
    "other": N_("It takes few tries to guess."),
}


def hash_new_password(password: str, *about: str) -> str:
    """The hash to store. `about`: name and address of its owner, which it must not be made of.

    Raises Invalid for one that is too short, too long, or guessed in few tries, and says why.
    """
    refuse_wrong_length(password)
    reason = weakness(password, *about)
    if reason is not None:
        raise Invalid(
            _("This password is easy to guess. A sentence you can remember is best."), {"password": known(_REASONS[reason])}
        )
    return hash_password(password)


def weakness(password: str, *about: str) -> str | None:
    """Why the password is guessed in few tries, as a key of the reasons; none for a good one."""
    from zxcvbn import zxcvbn  # its lists take a sixth of a second to load: not at the start of every process

    with _ONE_AT_A_TIME:
        found = zxcvbn(password[:LOOKED_AT], user_inputs=["tastemaker", *_parts(about)])
    return None if found["score"] >= LEAST_SCORE else _reason(found["sequence"])


def _parts(about: tuple[str, ...]) -> list[str]:
    """Each as a whole, with its parts, and with the parts run together."""
    split = [text.replace("@", " ").replace(".", " ").split() for text in about]
    words = [*about, *("".join(parts) for parts in split), *(part for parts in split for part in parts)]
    return [word for word in words if len(word) > 2]


def _reason(sequence: list[dict[str, Any]]) -> str:
    """By what the largest part of it was recognised."""
    known = [match for match in sequence if match["pattern"] != "bruteforce"]
    if not known:
        return "other"
    largest = max(known, key=lambda match: len(match["token"]))
    if largest["pattern"] == "dictionary":
        return {"user_inputs": "mine", "passwords": "passwords"}.get(largest["dictionary_name"], "words")
    return {"regex": "date"}.get(largest["pattern"], str(largest["pattern"]))
