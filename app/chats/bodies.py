"""What the calls of talks take and give as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from app.labels.bodies import ClientId, Comment, ComparedSpansIn, Flags, Milliseconds, StoredReply, WallMs
from app.labels.verdict import Rewrite, Verdict
from app.queue.bodies import AnswerShown
from app.web.json_types import MAX_ID, Body, Reply, Text

LONGEST_SAID: Final = 10_000  # characters

Said = Annotated[Text, Field(min_length=1, max_length=LONGEST_SAID)]
Turn = Annotated[int, Field(ge=1, le=MAX_ID, description="The turn's number in its talk.")]


class NewChat(Body):
    client_id: ClientId


class TurnIn(Body):
    client_id: ClientId
    text: Said


class ChoiceIn(Body):
    """A verdict on a turn's two continuations, as on any comparison."""

    client_id: ClientId
    turn: Turn
    choice: Literal["left", "right", "tie", "both_bad"]
    strength: Annotated[int, Field(ge=1, le=3, description="1 slightly, 2 clearly, 3 much; of left or right")] | None = None
    words: Said | None = Field(None, description="Where both are bad: what it should have said. The talk goes on with that.")
    flags: dict[Literal["left", "right"], Flags] = {}
    spans: ComparedSpansIn | None = Field(None, description="what is marked in each answer; null: nobody was asked to mark")
    comment: Comment = ""
    active_ms: Milliseconds | None = None
    wall_ms: WallMs | None = None

    def verdict(self) -> Verdict:
        return Verdict(
            client_id=self.client_id.lower(),
            choice=self.choice,
            strength=self.strength,
            flags={side: list(flags) for side, flags in self.flags.items()},
            rewrite=None if self.words is None else Rewrite("left", self.words),
            spans=None if self.spans is None else self.spans.model_dump(exclude_none=True),
            comment=self.comment,
            active_ms=self.active_ms,
            wall_ms=self.wall_ms,
        )


class ChatBegun(Reply):
    id: int
    created_at: datetime


class OpeningReply(Reply):
    id: int
    begun_at: datetime
    said: str = Field(description="What it began with.")
    turns: int


class TurnReply(Reply):
    """Nothing tells which model wrote what."""

    number: int
    said: str
    state: Literal["asked", "answered", "done"] = Field(
        description="asked: its answers are not there, send it again; answered: choose; done: the talk has gone on"
    )
    left: AnswerShown | None
    right: AnswerShown | None
    choice: str | None = Field(description="of the verdict in force; null also where both answers were the same")
    reply: str | None = Field(description="what went on")


class ChatReply(ChatBegun):
    turns: list[TurnReply]


class ChoiceReply(StoredReply):
    reply: str = Field(description="What the talk goes on with.")


STREAM: Final[dict[str, Any]] = {
    "description": 'Server-sent events: `{"turn": 1}`, then `{"left": "...", "right": "..."}` by which both grow in step, at '
    'last `{"done": true, "left": {"text", "cut"}, "right": {...}, "reply": null}`; `reply` is a text where both answers are '
    'the same and the talk has gone on with it. `{"error": {"title", "status", "detail"}}` where it could not be gone on with: '
    "send the same again.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
