"""What the tests of the warm process ask it."""

from __future__ import annotations

from typing import Any

from trainer.contract.serving.questions import Models, Scoring, Turn, Writing
from trainer.serve.jobs import Job

HELLO = [Turn(role="user", content="Say something, please: 1")]


def writing(policy: object, *, reward: object = "", seeds: tuple[int, ...] = (1,), **values: Any) -> Writing:
    filled = {"messages": HELLO, "max_tokens": 8, "temperature": 1.0, "top_p": 1.0, **values}
    return Writing(Models(str(policy), str(reward), "2026-01-01"), seeds=list(seeds), **filled)


def scoring(policy: object, reward: object, *texts: str) -> Scoring:
    return Scoring(Models(str(policy), str(reward), "2026-01-01"), HELLO, list(texts))


def job(asked: Writing | Scoring) -> tuple[Job, list[Any]]:
    """A job, and what it has been told."""
    told: list[Any] = []
    return Job(asked, told.append), told


def text_of(told: list[Any]) -> str:
    return "".join(event["text"] for event in told if event and "text" in event)
