"""What the calls about tasks take and give as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from app.web.json_types import Body, Id, Moment, Reply, Text


class NextIn(Body):
    besides: Annotated[list[Id], Field(max_length=100, description="tasks in hand: the next one is none of these")] = []


class SkipIn(Body):
    reason: Annotated[Text, Field(max_length=1000)] = ""


class ReturnIn(Body):
    lease_until: Annotated[Moment, Field(description="of the lease that is meant, as the claim said it")]


class Message(Reply):
    role: str
    content: str


class PromptShown(Reply):
    messages: list[Message]


class AnswerShown(Reply):
    text: str
    cut: bool = Field(False, description="whether the length limit ended it, in the middle of what it had to say")


class TaskReply(Reply):
    """A comparison has `left` and `right`, a rating `response`, a ranking `answers`. Nothing tells which model wrote what."""

    id: int
    kind: Literal["comparison", "rating", "ranking"]
    lease_until: datetime
    prompt: PromptShown
    left: AnswerShown | None = None
    right: AnswerShown | None = None
    response: AnswerShown | None = None
    answers: list[AnswerShown] | None = Field(None, description="of a ranking; numbered from 1 in this order")
    criteria: list[dict[str, Any]]
    rubric: list[dict[str, Any]] = Field(description="questions of yes or no about each answer; none of a ranking")
    span_reasons: list[dict[str, Any]] = Field(description="why a passage of an answer may be marked; nothing is in a ranking")
    guideline_version: int


class LeaseReply(Reply):
    lease_until: datetime
