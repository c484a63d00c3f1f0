"""What the calls about those who judge take and give as JSON."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.quality.report import Kind
from app.web.json_types import Reply


class FigureReply(Reply):
    n: int
    value: float | None = Field(description="null where n is too small for any")
    low: float | None = Field(description="of its 95 % interval")
    high: float | None
    enough: bool = Field(description="at least 30: fewer tell little")


class QuestionReply(Reply):
    key: str = Field(description="of the criterion; empty: the verdict itself")
    kind: Kind
    nominal: FigureReply = Field(description="Krippendorff's alpha; `n` counts verdicts on tasks that have two")
    ordinal: FigureReply


class PairReply(Reply):
    first: int
    second: int
    alike: FigureReply = Field(description="how often both said the same; of ratings within one step")


class AgreementReply(Reply):
    labels: int
    counted_at: datetime | None = Field(description="null: now")
    questions: list[QuestionReply]
    pairs: list[PairReply] = Field(description="of the 40 people with the most labels")


class PersonReply(Reply):
    user_id: int
    name: str
    labels: int
    paused: bool = Field(description="asked nothing at present: too many known answers were missed")
    excluded: bool = Field(description="their labels train nothing")
    left_out: list[str] = Field(
        description="figures that are not shown to the caller: of their own, those that would tell of checks"
    )
    agrees: FigureReply = Field(description="with everybody else")
    steady: FigureReply = Field(description="said the same when a question came back")
    gold: FigureReply = Field(description="gave the known answer")
    decides: dict[str, float] = Field(
        description="probabilities of what they decide by: as most do (`shared`), by chance (`chance`), against all "
        "(`opposite`), by a taste of their own (`taste`); empty under 30 choices where others chose, too"
    )
    accuracy: FigureReply = Field(description="of choices, by what the others' verdicts make out to be true (Dawid-Skene)")
    discrimination: FigureReply = Field(description="Bradley-Terry by judge: 1 is average, 0 a guess, below 0 the opposite")
    leniency: FigureReply = Field(description="of ratings, over what others gave the same answers")
    left: FigureReply = Field(description="of choices, the left answer")
    longer: FigureReply = Field(description="of choices, the longer answer where one is longer by a quarter")
    ties: FigureReply = Field(description="of comparisons")
    seconds: FigureReply = Field(description="median for a label, active where that is known")
    reading: FigureReply = Field(description="median of the time over what reading the answers takes")
    hasty: FigureReply = Field(description="of labels, given in less than a quarter of the reading time")


class PeopleReply(Reply):
    counted_at: datetime | None = Field(description="null: now")
    items: list[PersonReply] = Field(description="by name: nobody is ranked")
