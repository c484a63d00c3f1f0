"""Asking the warm process, over the socket in the data folder: docs/decisions/0034.

Whoever asks first has it started by the worker, and waits for that. Raises refusals that a person can read; knows no table.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from app.errors import Broken, Invalid, Unavailable
from app.language.languages import N_
from trainer.contract.messages import from_json
from trainer.contract.serving.place import ask_for, socket_path
from trainer.contract.serving.questions import Scoring, Writing

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

START_S: Final = 30.0  # for the worker to see that somebody asks, and for the process to open the libraries
LOOK_S: Final = 0.1  # between two tries to reach it meanwhile
CONNECT_S: Final = 2.0
SILENT_S: Final = 180.0  # until its first word, which may wait for a large model to be opened; and between two
_AWAY: Final = N_("The process that holds the models is not there right now. The worker starts it again; please try again soon.")
_FAILED: Final = N_(
    "The model failed at this, and what had begun broke off. Please try again; if it stays so, the log of its process "
    "(warm/log.txt in the data folder) tells whoever runs the installation why."
)
OK, UNUSABLE, FAILED = 200, 422, 500


@dataclass(frozen=True)
class Piece:
    """What one answer has grown by. The last piece of an answer says why it ended, and which tokens it has."""

    index: int
    text: str
    finish_reason: str = ""  # eos, length; empty: it goes on
    tokens: int = 0
    token_ids: Sequence[int] = ()


@dataclass(frozen=True)
class Answering:
    """Answers as they are being written."""

    prompt_tokens: int
    pieces: AsyncIterator[Piece]


@dataclass
class Answer:
    text: str = ""
    finish_reason: str = ""
    tokens: int = 0
    token_ids: Sequence[int] = ()

    def grow(self, piece: Piece) -> None:
        self.text += piece.text
        self.finish_reason, self.tokens, self.token_ids = piece.finish_reason, piece.tokens, piece.token_ids


@dataclass(frozen=True)
class Score:
    score: float
    deviation: float | None  # None: the reward model has no members that could differ
    shortened: bool


class WarmProcess:
    def __init__(self, data: Path) -> None:
        self._data = data

    @asynccontextmanager
    async def answering(self, asked: Writing) -> AsyncIterator[Answering]:
        """Answers piece by piece; when the block is left nobody writes them any more."""
        async with self._asked("/writing", asked) as events:
            first = await anext(events)
            yield Answering(first["prompt_tokens"], _pieces(events))

    async def answers(self, asked: Writing) -> tuple[int, list[Answer]]:
        """The tokens of the prompt, and all answers once they are whole."""
        answers = [Answer() for _ in asked.seeds]
        async with self.answering(asked) as answering:
            async for piece in answering.pieces:
                answers[piece.index].grow(piece)
        return answering.prompt_tokens, answers

    async def scores(self, asked: Scoring) -> list[Score]:
        async with self._asked("/scores", asked) as events:
            found = await anext(events)
        return [Score(**one) for one in found["scores"]]

    @asynccontextmanager
    async def _asked(self, path: str, asked: Writing | Scoring) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        from httpx2 import AsyncClient, AsyncHTTPTransport, HTTPError, Timeout  # a hundred modules that no other request needs

        ask_for(self._data)
        with socket_path(self._data) as socket:
            transport = AsyncHTTPTransport(uds=socket, verify=False)  # there is no TLS on a socket
            timeout = Timeout(SILENT_S, connect=CONNECT_S)
            async with AsyncClient(transport=transport, base_url="http://warm", timeout=timeout) as client:
                try:
                    response = await _sent(client, path, asked)
                except HTTPError as error:
                    raise Unavailable(_AWAY) from error
                try:
                    await _refuse(response)
                    yield _events(response)
                except HTTPError as error:
                    raise Unavailable(_AWAY) from error
                finally:
                    await response.aclose()


async def _sent(client: AsyncClient, path: str, asked: Writing | Scoring) -> Response:
    """The reply's beginning. Where nobody listens yet it is tried until the process must have come."""
    from httpx2 import ConnectError

    end = time.monotonic() + START_S
    while True:
        try:
            return await client.send(client.build_request("POST", path, json=asdict(asked)), stream=True)
        except ConnectError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(LOOK_S)


async def _refuse(response: Response) -> None:
    if response.status_code == OK:
        return
    if response.status_code == FAILED:
        raise Broken(_FAILED)
    reason = from_json(json.loads(await response.aread()))
    raise Invalid(reason) if response.status_code == UNUSABLE else Unavailable(reason)


async def _events(response: Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        event = json.loads(line)
        if "refused" in event:
            reason = from_json(event["refused"])
            raise Unavailable(reason) if event["later"] else Invalid(reason)
        if "failed" in event:
            raise Broken(_FAILED)
        yield event


async def _pieces(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[Piece]:
    async for event in events:
        yield Piece(**event)
