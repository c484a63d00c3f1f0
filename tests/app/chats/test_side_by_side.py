"""Two continuations come in step, however fast each is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.chats.side_by_side import Grown, side_by_side
from app.errors import Unavailable
from app.serving.warm_process import Answer, Answering, Piece, WarmProcess
from trainer.contract.serving.questions import Models, Writing

FAST = Writing(Models("fast", "", "2026-12-01"), [{"role": "user", "content": "Hello?"}], 8, 1.0, 1.0, [7])
SLOW = replace(FAST, models=Models("slow", "", "2026-12-01"), seeds=[8])
WORDS = ("one ", "two ", "three")


class Models_(WarmProcess):
    """Models that write at their own pace; `slow` breaks off where it is told to."""

    def __init__(self, breaks: bool = False) -> None:
        super().__init__(Path())
        self.asked: list[Writing] = []
        self.breaks = breaks

    @asynccontextmanager
    async def answering(self, asked: Writing) -> AsyncIterator[Answering]:
        self.asked.append(asked)
        yield Answering(3, self._pieces(asked))

    async def _pieces(self, asked: Writing) -> AsyncIterator[Piece]:
        for number, word in enumerate(WORDS):
            for index in range(len(asked.seeds)):
                await asyncio.sleep(0.05 if asked.models.policy == "slow" else 0)
                if self.breaks and asked.models.policy == "slow" and number == 1:
                    raise Unavailable("gone")
                yield Piece(index, word)
        for index in range(len(asked.seeds)):
            yield Piece(index, "", "eos", 3, (1, 2, 3))


def led(warm: WarmProcess, left: Writing, right: Writing) -> tuple[list[Grown], tuple[Answer, Answer]]:
    async def lead() -> tuple[list[Grown], tuple[Answer, Answer]]:
        async with side_by_side(warm, left, right) as both:
            return [grown async for grown in both.grown], both.answers

    return asyncio.run(lead())


def test_the_faster_one_waits_for_the_slower_piece_by_piece() -> None:
    grown, answers = led(Models_(), FAST, SLOW)
    assert grown == [*((word, word) for word in WORDS), ("", "")]
    assert [(answer.text, answer.finish_reason) for answer in answers] == [("one two three", "eos")] * 2
    assert [answer.token_ids for answer in answers] == [(1, 2, 3)] * 2


def test_one_policy_is_asked_once_for_both() -> None:
    warm = Models_()
    led(warm, FAST, replace(FAST, seeds=[9]))
    assert [asked.seeds for asked in warm.asked] == [[7, 9]]


def test_where_one_breaks_off_both_end_with_the_reason() -> None:
    with pytest.raises(Unavailable, match="gone"):
        led(Models_(breaks=True), FAST, SLOW)
