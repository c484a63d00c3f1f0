"""A reward that answers at an address of the owner's: POST {"prompts": [...], "answers": [...]}, reply {"scores": [...]}.

Prompts are conversations as lists of {"role", "content"}, answers are texts, scores are numbers in the same order. What may
pass (no connection, no reply in time, status 408, 429 or 5xx) is tried again after a while; anything else ends the run.
Redirections are not followed: only the address that the owner named is ever asked, and told the key.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from trainer.contract.folder import Unanswered
from trainer.contract.messages import Message
from trainer.contract.outside.post import NotAsked, Passing, TooLong, headers_with, post, silent
from trainer.outside.scores import checked

ANSWERS_AT_ONCE: Final = 64  # of one request
BYTES_AT_ONCE: Final = 4 * 2**20  # of one request, unless a single answer with its prompt is more
MOST_BYTES: Final = 2**20  # of a reply
TIMEOUT_S: Final = 60.0  # of one request, from its beginning to the last byte of the reply
WAITS_S: Final = (1.0, 4.0, 15.0, 60.0)  # before it is asked again
LOOK_S: Final = 0.2  # between two looks whether the run is to stop

Conversation = Sequence[Mapping[str, str]]


class Address:
    """One address, asked under the name that the owner gave it."""

    def __init__(
        self, name: str, url: str, key: str | None = None, timeout_s: float = TIMEOUT_S, waits_s: Sequence[float] = WAITS_S
    ) -> None:
        self._name = name
        self._url = url
        self._timeout_s = timeout_s
        self._waits_s = waits_s
        self._headers = headers_with(key)

    def __call__(self, prompts: Sequence[Conversation], answers: Sequence[str], check: Callable[[], None]) -> list[float]:
        """Scores in the order of the answers. Raises Unanswered, and what `check` raises where the run is to stop."""
        found: list[float] = []
        for body, count in _requests(prompts, answers):
            found += checked(self._name, self._scores(self._asked(body, check)), count)
        return found

    def _asked(self, body: bytes, check: Callable[[], None]) -> bytes:
        """The reply's body, after as many tries as it takes."""
        for wait_s in self._waits_s:
            try:
                return self._once(body, check)
            except Passing:
                _pause(wait_s, check)
        try:
            return self._once(body, check)
        except Passing as error:
            times = len(self._waits_s) + 1
            raise Unanswered(Message("outside_not_reached", name=self._name, times=times, error=error.message)) from None

    def _once(self, body: bytes, check: Callable[[], None]) -> bytes:
        """One request, in a thread of its own: a server that replies byte by byte holds up neither the clock nor a cancel."""
        replies: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._post, args=(body, replies), daemon=True).start()
        end = time.monotonic() + self._timeout_s
        while True:
            check()
            try:
                reply = replies.get(timeout=max(0.0, min(LOOK_S, end - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= end:
                    raise silent(self._timeout_s) from None
                continue
            if isinstance(reply, Exception):
                raise reply
            return reply

    def _post(self, body: bytes, replies: queue.SimpleQueue[bytes | Exception]) -> None:
        try:
            replies.put(post(self._url, body, self._headers, timeout_s=self._timeout_s, most=MOST_BYTES))
        except TooLong:
            replies.put(Unanswered(Message("outside_too_long", name=self._name, most=MOST_BYTES)))
        except NotAsked as error:
            replies.put(Unanswered(Message("outside_failed", name=self._name, error=error.message)))
        except Exception as error:
            replies.put(error)

    def _scores(self, reply: bytes) -> object:
        try:
            found = json.loads(reply)
        except (ValueError, RecursionError):
            found = None
        scores = found.get("scores") if isinstance(found, dict) else None
        if not isinstance(scores, list):
            raise Unanswered(Message("outside_no_scores", name=self._name))
        return scores


def _requests(prompts: Sequence[Conversation], answers: Sequence[str]) -> Iterator[tuple[bytes, int]]:
    """The bodies of requests that ask about all of them, and about how many each asks."""
    together: list[tuple[Conversation, str]] = []
    size = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        more = sum(len(message["content"].encode()) for message in prompt) + len(answer.encode())
        if together and (len(together) == ANSWERS_AT_ONCE or size + more > BYTES_AT_ONCE):
            yield _body(together), len(together)
            together, size = [], 0
        together.append((prompt, answer))
        size += more
    if together:
        yield _body(together), len(together)


def _body(together: Sequence[tuple[Conversation, str]]) -> bytes:
    asked = {
        "prompts": [[dict(message) for message in prompt] for prompt, _ in together],
        "answers": [one for _, one in together],
    }
    return json.dumps(asked).encode("ascii")


def _pause(wait_s: float, check: Callable[[], None]) -> None:
    end = time.monotonic() + wait_s
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(min(LOOK_S, left))
