"""What the calls of labels take and give as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.labels.answers.rubric import Answer, without_gaps
from app.labels.answers.spans import MOST_SPANS
from app.labels.empty_desk import Reason
from app.labels.record import LONGEST_MS
from app.labels.verdict import Order, Rewrite, Verdict
from app.queue.bodies import AnswerShown, PromptShown
from app.web.json_types import Body, Line, Reply, Text

Flag = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="the key of a flag of the project")]
ClientId = Annotated[
    str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", description="a UUID of the sender's")
]
Flags = Annotated[list[Flag], Field(max_length=20)]
Score = Annotated[int, Field(ge=1, le=5)]
Comment = Annotated[Text, Field(max_length=10_000)]
Rewritten = Annotated[Text, Field(min_length=1, max_length=50_000)]
MOST_PLACES = 10_000_000  # far behind the end of any answer
Milliseconds = Annotated[int, Field(ge=0, le=LONGEST_MS)]

WallMs = Annotated[Milliseconds, Field(description="since the task was shown; without it, the time since the claim counts")]


RubricVersion = Annotated[int, Field(ge=1, description="of the question's words, as the task told it; else today's")]


class ComparedIn(Body):
    version: RubricVersion | None = None
    left: Answer | None = None
    right: Answer | None = None


class RatedIn(Body):
    version: RubricVersion | None = None
    response: Answer | None = None


class SpanIn(Body):
    start: Annotated[int, Field(ge=0, le=MOST_PLACES, description="its first place in the text: Unicode code points, from 0")]
    end: Annotated[int, Field(ge=1, le=MOST_PLACES, description="the place behind its last")]
    reason: Annotated[Line, Field(max_length=40, description="the key of a reason of the project")]
    quote: Annotated[Text, Field(description="the marked text; where it is given it has to be what stands there")] | None = None


Spans = Annotated[list[SpanIn], Field(max_length=MOST_SPANS)]
SpanReasons = Annotated[
    dict[Annotated[Line, Field(max_length=40)], Annotated[int, Field(ge=1)]],
    Field(
        max_length=50,
        description="the reasons that could be given, each with the version of its name that was shown; left out: all of today. "
        "Where one could be given, an answer without its mark trains as one that gives no such cause",
    ),
]


class ComparedSpansIn(Body):
    reasons: SpanReasons | None = None
    left: Spans = []
    right: Spans = []


class RatedSpansIn(Body):
    reasons: SpanReasons | None = None
    response: Spans = []


RubricKey = Annotated[Line, Field(max_length=40)]


class RewriteIn(Body):
    side: Literal["left", "right"]
    text: Rewritten


class ComparisonIn(Body):
    client_id: ClientId
    choice: Literal["left", "right", "tie", "both_bad"]
    strength: Annotated[int, Field(ge=1, le=3, description="1 slightly, 2 clearly, 3 much; of left or right")] | None = None
    criteria: Annotated[dict[Line, Literal["left", "right", "tie"]], Field(max_length=50)] = {}
    flags: dict[Literal["left", "right"], Flags] = {}
    rubric: Annotated[dict[RubricKey, ComparedIn], Field(max_length=50)] = {}
    spans: ComparedSpansIn | None = Field(None, description="what is marked in each answer; null: nobody was asked to mark")
    rewrite: RewriteIn | None = None
    comment: Comment = ""
    active_ms: Milliseconds | None = None
    wall_ms: WallMs | None = None

    def verdict(self) -> Verdict:
        rewrite = Rewrite(self.rewrite.side, self.rewrite.text) if self.rewrite else None
        return Verdict(
            client_id=self.client_id.lower(),
            choice=self.choice,
            strength=self.strength,
            criteria=dict(self.criteria),
            flags={side: list(flags) for side, flags in self.flags.items()},
            rubric=without_gaps({key: said.model_dump() for key, said in self.rubric.items()}),
            spans=None if self.spans is None else self.spans.model_dump(exclude_none=True),
            rewrite=rewrite,
            comment=self.comment,
            active_ms=self.active_ms,
            wall_ms=self.wall_ms,
        )


class RatingIn(Body):
    client_id: ClientId
    overall: Score
    criteria: Annotated[dict[Line, Score], Field(max_length=50)] = {}
    flags: Flags = []
    rubric: Annotated[dict[RubricKey, RatedIn], Field(max_length=50)] = {}
    spans: RatedSpansIn | None = Field(None, description="what is marked in the answer; null: nobody was asked to mark")
    rewrite: Rewritten | None = None
    comment: Comment = ""
    active_ms: Milliseconds | None = None
    wall_ms: WallMs | None = None

    def verdict(self) -> Verdict:
        return Verdict(
            client_id=self.client_id.lower(),
            overall=self.overall,
            criteria=dict(self.criteria),
            flags={"response": self.flags} if self.flags else {},
            rubric=without_gaps({key: said.model_dump() for key, said in self.rubric.items()}),
            spans=None if self.spans is None else self.spans.model_dump(exclude_none=True),
            rewrite=Rewrite("response", self.rewrite) if self.rewrite else None,
            comment=self.comment,
            active_ms=self.active_ms,
            wall_ms=self.wall_ms,
        )


Number = Annotated[int, Field(ge=1, le=6, description="of an answer, from 1, as they were shown")]
Equals = Annotated[list[Number], Field(max_length=6)]


class RankingIn(Body):
    client_id: ClientId
    ranking: Annotated[
        list[Equals],
        Field(max_length=6, description="the best first, equals together; an answer in no group is worse than these"),
    ]
    last: Annotated[Equals, Field(description="the worst: answers in no group are better than these")] = []
    all_bad: Annotated[bool, Field(description="every one of them; then `ranking` and `last` are empty")] = False
    flags: dict[Literal["1", "2", "3", "4", "5", "6"], Flags] = {}
    comment: Comment = ""
    active_ms: Milliseconds | None = None
    wall_ms: WallMs | None = None

    def verdict(self) -> Verdict:
        return Verdict(
            client_id=self.client_id.lower(),
            ranking=Order([list(group) for group in self.ranking], list(self.last), self.all_bad),
            flags={number: list(flags) for number, flags in self.flags.items()},
            comment=self.comment,
            active_ms=self.active_ms,
            wall_ms=self.wall_ms,
        )


def _kind(body: Any) -> str:
    if isinstance(body, RankingIn) or (isinstance(body, dict) and "ranking" in body):
        return "ranking"
    return "rating" if isinstance(body, RatingIn) or (isinstance(body, dict) and "overall" in body) else "comparison"


LabelIn = Annotated[
    Annotated[ComparisonIn, Tag("comparison")] | Annotated[RatingIn, Tag("rating")] | Annotated[RankingIn, Tag("ranking")],
    Discriminator(_kind),
]


class WithdrawIn(Body):
    client_id: ClientId


class StoredReply(Reply):
    id: int
    task_id: int
    version: int
    surplus: bool
    created_at: datetime


class Annotator(Reply):
    id: int
    name: str


class RankingSaid(Reply):
    order: list[list[int]] = Field(description="answers by number from 1 as they were shown, the best first, equals together")
    last: list[int]
    all_bad: bool


class LabelReply(Reply):
    id: int
    task_id: int
    annotator: Annotator
    version: int
    supersedes_id: int | None
    current: bool = Field(description="in force: no later version, not withdrawn")
    withdrawn: bool = Field(description="this version takes the verdict back")
    surplus: bool
    kind: str
    choice: str | None
    strength: int | None
    overall: int | None
    ranking: RankingSaid | None
    criteria: dict[str, Any]
    flags: dict[str, list[str]]
    rubric: dict[str, dict[str, str | int]] | None = Field(description="by question: which version of it was answered, and how")
    spans: dict[str, Any] | None = Field(
        description="which reasons could be given, with the version of each name, and what was marked on each side: places count "
        "Unicode code points of the text from 0, the end is behind the last"
    )
    rewrite: dict[str, str] | None
    comment: str
    guideline_version: int
    interface_version: str
    wall_ms: int | None
    active_ms: int | None
    served_reason: str | None = Field(
        description="null where one sees only one's own labels, and of one's own of today: checks stay silent. To admins alone "
        "`gold` and `repeat` are told; others read `random` in their place"
    )
    created_at: datetime


class HistoryReply(Reply):
    """A verdict: the label asked for, its versions, newest first, and what its author saw."""

    label: LabelReply
    versions: list[LabelReply]
    older: int | None = Field(description="where there are more versions than a page takes: pass it as `before`")
    prompt: PromptShown
    left: AnswerShown
    right: AnswerShown | None
    answers: list[AnswerShown] = Field([], description="of a ranking, as they were shown")


class WaitingReply(Reply):
    reason: Reason = Field(
        description="writing, queued: answers are on their way; learning: a round comes first; trouble: an admin has to "
        "look; others: what is left waits for other people; closed: this month's hours are used"
    )
    seconds: float | None = Field(description="until there may be a task, where it can be said")
    done: int = Field(description="answers written so far")
    total: int
