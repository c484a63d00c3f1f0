"""Two continuations while they are being written, in step: the n-th piece of one comes with the n-th piece of the other.

So neither the time nor the pace tells which model writes where. Knows no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from app.serving.warm_process import Answer, Answering, Piece, WarmProcess
from trainer.contract.serving.questions import Writing

Grown = tuple[str, str]  # by what left and right have grown; one that has ended grows no more


@dataclass
class SideBySide:
    """Both answers: what comes of them, and what they are once all has come."""

    grown: AsyncIterator[Grown]
    answers: tuple[Answer, Answer] = field(default_factory=lambda: (Answer(), Answer()))


@asynccontextmanager
async def side_by_side(warm: WarmProcess, left: Writing, right: Writing) -> AsyncIterator[SideBySide]:
    """Ask for both; when the block is left nobody writes them any more. Raises what the warm process refuses."""
    async with AsyncExitStack() as held:
        queues: tuple[_Queue, _Queue] = (asyncio.Queue(), asyncio.Queue())
        if left.models == right.models:
            asked = [(replace(left, seeds=[*left.seeds, *right.seeds]), [*queues])]
        else:
            asked = [(left, [queues[0]]), (right, [queues[1]])]
        sources = [(await held.enter_async_context(warm.answering(writing)), told) for writing, told in asked]
        readers = [asyncio.create_task(_read(answering, told)) for answering, told in sources]
        try:
            answers = (Answer(), Answer())
            yield SideBySide(_in_step(queues, answers), answers)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


_Queue = asyncio.Queue[Piece | Exception]


async def _read(answering: Answering, queues: Sequence[_Queue]) -> None:
    """Each piece to the side it belongs to; what ends the reading, to all."""
    try:
        async for piece in answering.pieces:
            queues[piece.index].put_nowait(piece)
    except Exception as error:
        for queue in queues:
            queue.put_nowait(error)


async def _in_step(queues: tuple[_Queue, _Queue], answers: tuple[Answer, Answer]) -> AsyncIterator[Grown]:
    while not all(answer.finish_reason for answer in answers):
        grown = ["", ""]
        for side, answer in enumerate(answers):
            if not answer.finish_reason:
                piece = await queues[side].get()
                if isinstance(piece, Exception):
                    raise piece
                answer.grow(piece)
                grown[side] = piece.text
        yield grown[0], grown[1]
