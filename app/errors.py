"""Refusals a person should read. Services raise them; `app/web/error_replies.py` shows each once, as a page or problem+json."""

from __future__ import annotations

from collections.abc import Mapping

from app.language.languages import N_, known
from app.language.run_messages import told
from trainer.contract.messages import Message


class Refusal(Exception):
    """What happened, what is safe, what to do: written for the reader. `fields` marks single inputs."""

    status = 400
    title = N_("That cannot be done")

    def __init__(self, detail: str | Message, fields: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._detail = detail
        self.fields = dict(fields or {})

    def __str__(self) -> str:
        return self.detail

    @property
    def detail(self) -> str:
        """In the language of whoever reads, also where the raiser knew no reader."""
        return told(self._detail) if isinstance(self._detail, Message) else known(self._detail)

    @property
    def message(self) -> Message:
        """The detail as it is kept, where a run or a round ends for it: a detail that is a message is read in any language."""
        return self._detail if isinstance(self._detail, Message) else Message("written", text=self.detail)


class Invalid(Refusal):
    status = 422
    title = N_("Please check what you entered")


class NotSignedIn(Refusal):
    status = 401
    title = N_("Please sign in")


class NotAllowed(Refusal):
    status = 403
    title = N_("You may not do that")


class NeedsSecondFactor(NotAllowed):
    title = N_("Set up your second factor")


class NotFound(Refusal):
    status = 404
    title = N_("That does not exist")


class Conflict(Refusal):
    status = 409
    title = N_("That clashes with what is already there")


class Archived(Conflict):
    """A project that is put away is read, and comes back as it was."""

    def __init__(self) -> None:
        super().__init__(N_("This project is archived, so nothing in it changes. An admin can bring it back in its settings."))


class Gone(Refusal):
    status = 410
    title = N_("That is no longer available")


class TooMany(Refusal):
    """Told with when to come back."""

    status = 429
    title = N_("Too many tries")

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class TooManyCalls(TooMany):
    title = N_("Too many calls")


class Unavailable(Refusal):
    status = 503
    title = N_("Not available right now")


class Broken(Refusal):
    """A bug, or a process of ours that failed: in words, as a reply may have begun in which nothing else can say it any more."""

    status = 500
    title = N_("That failed")

    def __init__(self, detail: str = N_("Something failed on our side, and this broke off. Please try again.")) -> None:
        super().__init__(detail)


class Busy(Unavailable):
    """The database did not answer in time. Many may be refused at once, each in their own language."""

    def __init__(self) -> None:
        super().__init__(N_("The database is busy. Nothing was changed; please try again."))
