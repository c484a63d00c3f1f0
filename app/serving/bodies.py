"""What the calls that answer at once take and give as JSON."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Request
from pydantic import Field

from app.errors import Unavailable
from app.language.languages import _
from app.serving.warm_process import WarmProcess
from app.web.json_types import Body, Id, JsonObject, Reply, Text
from trainer.contract.serving.questions import LARGEST_SEED, MOST_ANSWERS, MOST_TEXTS, MOST_TOKENS

Found = TypeVar("Found")


async def warm_process(request: Request) -> WarmProcess:
    found: WarmProcess = request.app.state.warm
    return found


Warm = Annotated[WarmProcess, Depends(warm_process)]


class ScoreIn(Body):
    prompt: JsonObject = Field(description='`{"text": "..."}` or `{"messages": [...]}`, as in an import.')
    texts: list[Text] = Field(min_length=1, max_length=MOST_TEXTS, description="Answers to it.")


class ScoreReply(Reply):
    score: float = Field(description="0 is the mean of the base model's answers, 1 their standard deviation.")
    deviation: float | None = Field(description="Standard error of the score; null where the reward model cannot say it.")
    shortened: bool = Field(description="Prompt and answer were longer than the reward model reads, and were cut.")


class ScoresReply(Reply):
    policy: int = Field(description="The policy in force, whose base the reward model reads with.")
    reward: int = Field(description="The reward model's checkpoint.")
    scores: list[ScoreReply]


class GenerateIn(Body):
    prompt: JsonObject = Field(description='`{"text": "..."}` or `{"messages": [...]}`, as in an import.')
    checkpoint: Id | None = Field(None, description="A policy of the project; null: the one in force.")
    n: int = Field(1, ge=1, le=MOST_ANSWERS, description="Answers.")
    max_tokens: int = Field(256, ge=1, le=MOST_TOKENS)
    temperature: float = Field(1.0, ge=0, le=5, description="0 takes the likeliest token each time.")
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="The same seed draws the same answers.")


class AnswerReply(Reply):
    text: str
    finish_reason: Literal["eos", "length"]
    tokens: int


class AnswersReply(Reply):
    policy: int | None = Field(description="Who answered; null: the base model, before anything was computed on it.")
    prompt_tokens: int
    seed: int
    answers: list[AnswerReply]


def seeds(seed: int | None, count: int) -> list[int]:
    """One for each answer. The first is the given one: a lone answer is drawn by it."""
    first = secrets.randbelow(LARGEST_SEED) if seed is None else seed
    return [(first + index) % (LARGEST_SEED + 1) for index in range(count)]


async def unless_gone(request: Request, work: Coroutine[Any, Any, Found]) -> Found:
    """What the work gives. It is cancelled where the client goes away, for whom it would be done."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Unavailable(_("Nobody waits for this any more."))
    finally:
        for task in (leaving, working):
            task.cancel()
        await asyncio.gather(leaving, working, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
