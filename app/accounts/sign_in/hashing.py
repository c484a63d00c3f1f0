"""Hashing passwords: two at a time, in threads of their own, so that whoever waits for one holds no thread of the others.

Each takes 64 MiB and a tenth of a second. Whatever is cheap comes first: the shape of the form, its token, the throttle.
"""

from __future__ import annotations

import threading
from asyncio import wrap_future
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from app.errors import Unavailable
from app.language.languages import _

AT_ONCE = 2
MOST_WAITING = 40  # some four seconds

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Hashing:
    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="hashing")
        self._guard = threading.Lock()
        self._places = at_once + most_waiting

    async def run(self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
        """What the function returns. Raises Unavailable at once where too many wait."""
        with self._guard:
            if self._places == 0:
                raise Unavailable(_("Too many people are signing in at once. Please try again in a moment."))
            self._places -= 1
        future = self._threads.submit(copy_context().run, partial(function, *args, **kwargs))
        future.add_done_callback(self._done)
        return await wrap_future(future)

    def _done(self, _future: Future[Result]) -> None:
        with self._guard:
            self._places += 1
