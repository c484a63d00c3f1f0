"""Refusals a person should read. Services raise them; `app/web/error_replies.py` shows each once, as a page or problem+json."""

from __future__ import annotations

from collections.abc import Mapping

from app.language.languages import N_, known


class Refusal(Exception):
    """What happened, what is safe, what to do: written for the reader. `fields` marks single inputs."""

    status = 400
    title = N_("That cannot be done")

    def __init__(self, detail: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self._detail = detail
        self.fields = dict(fields or {})

    @property
    def detail(self) -> str:
        return known(self._detail)  # where the raiser knew no reader, in the language of whoever reads


class Invalid(Refusal):
    status = 422
    title = N_("Please check what you entered")


class NotSignedIn(Refusal):
    status = 401
    title = N_("Please sign in")


class NotAllowed(Refusal):
    status = 403
    title = N_("You may not do that")


class NotFound(Refusal):
    status = 404
    title = N_("That does not exist")


class Conflict(Refusal):
    status = 409
    title = N_("That clashes with what is already there")


class Gone(Refusal):
    status = 410
    title = N_("That is no longer available")


class TooMany(Refusal):
    status = 429
    title = N_("Too many tries")


class Unavailable(Refusal):
    status = 503
    title = N_("Not available right now")


class Busy(Unavailable):
    """The database did not answer in time. Many may be refused at once, each in their own language."""

    def __init__(self) -> None:
        super().__init__(N_("The database is busy. Nothing was changed; please try again."))
