"""Failures that a worker outlives, and what it says of them."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Iterator

from app.database.failures import is_passing
from app.errors import Refusal
from app.models.values import storable
from trainer.contract.messages import Message


@contextlib.contextmanager
def living_on(what: str) -> Iterator[None]:
    """Nothing ends a worker but being told to stop: nothing was decided by what failed here, and the next look finds it again."""
    try:
        yield
    except Exception as error:
        if is_passing(error):  # a busy or restarting database
            print(f"The database did not answer, trying again: {error}", file=sys.stderr)
        else:
            print(f"{what} failed:\n{traceback.format_exc()}", file=sys.stderr)


def why_not_prepared(error: Exception) -> Message:
    """Why a run could not begin, for the person who asked for it."""
    if isinstance(error, Refusal):
        return error.message
    if isinstance(error, OSError):
        return Message("folder_not_written", error=said(error))
    return Message("not_prepared", error=said(error))


def crashed(code: int, times: int, last_line: str) -> Message:
    """What ended a run each of so many times, by the exit status of its process, below 0 for a signal, and what it said last."""
    ending = Message("killed", signal=signal.Signals(-code).name) if code < 0 else Message("ended_badly", status=code)
    if not last_line:
        return Message("crashed_silently", times=times, ending=ending)
    return Message("crashed", times=times, ending=ending, last_line=last_line)


def said(error: Exception) -> str:
    """The first line of what was raised: a database's own words, without the values."""
    words = str(getattr(error, "orig", None) or error) or type(error).__name__
    return str(storable(words.splitlines()[0][:300]))
