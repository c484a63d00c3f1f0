"""What the calls of feedback take and give as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.feedback.service import Said
from app.labels.bodies import ClientId, Comment, Rewritten
from app.language.languages import N_
from app.serving.openai_bodies import MessageIn
from app.web.json_types import Body, CodedMessage, Line, Reply, Text, Told


class FeedbackIn(Body):
    """What somebody thought of an answer: of one that was kept, or of one that is sent along with its conversation and model."""

    client_id: ClientId
    completion_id: Line | None = None
    index: Annotated[int, Field(ge=0, le=100)] = 0
    model: Line | None = None
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=100)] | None = None
    answer: Annotated[Text, Field(min_length=1)] | None = None
    thumb: Literal["up", "down"]
    correction: Rewritten | None = None
    comment: Comment = ""
    consent: bool = Field(description="Whoever said it agrees to its being used. Without that the thumb alone is kept.")

    @model_validator(mode="after")
    def _names_one_answer(self) -> FeedbackIn:
        sent = (self.model, self.messages, self.answer)
        if (self.completion_id is None) == (None in sent) or (self.completion_id is not None and any(sent)):
            raise ValueError(N_("name the completion that was kept, or send model, messages and answer along"))
        if self.correction is not None and self.thumb == "up":
            raise ValueError(N_("a correction goes with a thumb down"))
        return self

    def said(self) -> Said:
        return Said(self.client_id.lower(), self.thumb, self.consent, self.correction, self.comment)


class GivenReply(Reply):
    object: Literal["feedback"] = "feedback"
    client_id: str
    state: Literal["waiting", "counted", "accepted", "refused", "withdrawn"] = Field(
        description="counted: the thumb alone was kept, as nobody agreed to more"
    )
    created: int = Field(description="Seconds since 1970.")


class FeedbackReply(Reply):
    """Of those that wait for an admin."""

    id: int
    thumb: Literal["up", "down"]
    messages: list[dict[str, str]]
    text: str = Field(description="The answer that it is about.")
    correction: str | None
    comment: str
    kept: bool = Field(description="False: the answer was sent along by whoever said it.")
    policy_id: int
    policy: Told
    coded_policy: CodedMessage
    giver: str = Field(description="Whose key it came with.")
    created_at: datetime


class DecidedReply(Reply):
    id: int
    accepted: bool
    label_id: int | None
