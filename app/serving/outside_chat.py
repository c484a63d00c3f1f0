"""A model outside that answers at once, piece by piece: asked by the web process, in threads of their own, bounded as a run is.

The warm process opens strangers' models and is told no key, so that it is not the one to ask.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Generator, Sequence
from functools import lru_cache, partial
from typing import Final

from anyio import CapacityLimiter, to_thread

from app.errors import Invalid, Unavailable
from app.language.languages import _
from app.models import OutsideModel
from trainer.contract.messages import Message
from trainer.contract.outside.address import CHAT, may_reach, problem_with
from trainer.contract.outside.chat import LIMITS, Piece, question, read_piece, wants_other_limit, why_refused
from trainer.contract.outside.key import UnusableKey, key_of
from trainer.contract.outside.post import NotAsked, Passing, TooLong, headers_with, post_for_lines
from trainer.contract.serving.questions import Turn

AT_ONCE: Final = 8  # answers of models outside that are being written; more wait
TIMEOUT_S: Final = 60.0  # until the next piece
MOST_BYTES: Final = 4 * 2**20  # of a reply


async def answer(model: OutsideModel, messages: Sequence[Turn], *, temperature: float, most_tokens: int) -> AsyncIterator[Piece]:
    """Its answer as it grows. Raises Invalid for what it refuses, Unavailable for what may go another time."""
    key = _key(model.key_variable)
    if problem := problem_with(model.address, own_network=model.own_network):  # as of one registered under earlier rules
        raise Invalid(problem)
    for limit in LIMITS:
        reading = _Reading(
            post_for_lines(
                model.address + CHAT,
                question(messages, model=model.model, temperature=temperature, most_tokens=most_tokens, limit=limit, stream=True),
                headers_with(key),
                timeout_s=TIMEOUT_S,
                most=MOST_BYTES,
                reaches=partial(may_reach, own_network=model.own_network),
            )
        )
        try:
            while (line := await to_thread.run_sync(reading.next, abandon_on_cancel=True, limiter=_threads())) is not None:
                yield read_piece(line)
            return
        except Passing as error:
            raise Unavailable(Message("model_outside_not_asked", model=model.name, error=error.message)) from None
        except NotAsked as error:
            if wants_other_limit(limit, error.said):
                continue
            why = why_refused(error.status, error.said, key) if error.status else error.message
            raise Invalid(Message("model_outside_not_asked", model=model.name, error=why)) from None
        except TooLong:
            raise Invalid(Message("model_outside_too_long", most=MOST_BYTES)) from None
        finally:
            reading.leave()


class _Reading:
    """A reply's lines, read in threads, let go of at once by whoever is last in it: here, or a thread that nobody waits for now.

    Left to the collector of garbage, the model outside would write on for as long as that does not come.
    """

    def __init__(self, lines: Generator[bytes]) -> None:
        self._lines = lines
        self._left = False

    def next(self) -> bytes | None:
        line = next(self._lines, None)
        if self._left:
            self.leave()
        return line

    def leave(self) -> None:
        self._left = True
        with contextlib.suppress(ValueError):  # a thread is in it, and leaves it as soon as it may
            self._lines.close()


def _key(variable: str | None) -> str | None:
    try:
        key = key_of(os.environ, variable)
    except UnusableKey as error:
        raise Unavailable(error.message) from None
    if variable and key is None:
        raise Unavailable(
            _("The variable %(variable)s, which holds its key, is not set where the pages are served.", variable=variable)
        )
    return key


@lru_cache(maxsize=1)
def _threads() -> CapacityLimiter:
    """Of their own: whoever waits for a model outside holds no thread of those who judge."""
    return CapacityLimiter(AT_ONCE)
