"""Evaluations over the API: asking for one, and how it stands. Who annotates must not know."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session

from app.contenders.bodies import ContenderReply, contender_replies
from app.database.engine import Db, WriteDb
from app.evaluation import answering, service, story
from app.models import Contender, Evaluation, Project
from app.runs.bodies import PathId
from app.web.gate import CurrentProjectId
from app.web.json_types import Body, CodedMessage, Id, Reply, Told, coded
from app.web.security import Caller

router = APIRouter(tags=["evaluations"])


class NewEvaluation(Body):
    candidates: Annotated[list[Id], Field(min_length=1, max_length=8, description="Contenders to compare with the baseline.")]
    baseline: Id | None = Field(None, description="A contender; by default the policy in force.")


class CandidateReply(Reply):
    contender: ContenderReply
    promotable: bool = Field(description="False: it is shown beside, and cannot win.")
    standing: dict[str, Any] | None = Field(
        description="At the last look: units (prompts), verdicts, people, mean, lower and upper end of the win rate, track "
        "(prompts, lower, upper), won, lost, neither, saved, and flags that are set more often."
    )
    words: str = Field(description="The same in a sentence, in the language of the request.")
    alarm: Told = Field(description="Not empty where its score rose and people turned it down: what rose, and what people said.")
    coded_alarm: CodedMessage | None = coded("alarm")


class EvaluationReply(Reply):
    id: int
    round_id: int | None
    state: Literal["answering", "open", "decided", "cancelled"]
    baseline: ContenderReply
    candidates: list[CandidateReply]
    budget: int = Field(description="Verdicts on each candidate.")
    given: int = Field(description="Verdicts in force so far, on all of them.")
    planned: int = Field(description="Prompts for each candidate.")
    boundary: float = Field(0.5, description="What the lower end of a win rate must reach for promotion.")
    error: float
    flag_margin: float
    expected: list[dict[str, Any]] | None = Field(description="What it takes by true win rates: verdicts, and the power.")
    decision: Literal["promoted", "rejected"] | None = Field(
        description="None while it goes on, and where it was cancelled. Where it ended because nothing could be asked, or no "
        "question got all its verdicts, `coded_reason` says `nothing_to_compare` or `nobody_judged`."
    )
    winner_id: int | None = Field(description="A contender.")
    reason: Told
    coded_reason: CodedMessage | None = coded("reason")
    created_at: datetime
    opened_at: datetime | None
    ended_at: datetime | None


@router.post("/projects/{slug}/evaluations", status_code=202)
def start_evaluation(session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: NewEvaluation) -> EvaluationReply:
    """Have people compare contenders with a baseline, blind, on held-out prompts. Nothing is promoted by it."""
    project = session.get_one(Project, project_id)
    return _reply(session, answering.start(session, project, body.candidates, body.baseline, caller.user_id))


@router.get("/evaluations/{id}")
def show_evaluation(session: Db, id: PathId) -> EvaluationReply:
    return _reply(session, service.get_evaluation(session, id))


@router.post("/evaluations/{id}/cancel")
def cancel_evaluation(session: WriteDb, caller: Caller, id: PathId) -> EvaluationReply:
    """End one that was asked for outside of rounds before people have decided. Labels stay."""
    evaluation = service.get_evaluation(session, id)
    answering.cancel(session, evaluation, caller.user_id)
    return _reply(session, evaluation)


def _reply(session: Session, evaluation: Evaluation) -> EvaluationReply:
    told = story.tell(session, evaluation)
    rows = service.candidates_of(session, evaluation)
    found = [session.get_one(Contender, one) for one in (evaluation.baseline_id, *(row.contender_id for row in rows))]
    baseline, *contenders = contender_replies(session, found)
    names = ("id", "round_id", "state", "budget", "planned", "error", "flag_margin", "expected", "decision", "winner_id")
    moments = ("created_at", "opened_at", "ended_at")
    return EvaluationReply(
        **{name: getattr(evaluation, name) for name in (*names, *moments)},
        given=told.given,
        baseline=baseline,
        candidates=[
            CandidateReply(
                contender=one,
                promotable=row.promotable,
                standing=row.standing,
                words=standing.words,
                alarm=row.alarm,
                coded_alarm=row.alarm,
            )
            for one, row, standing in zip(contenders, rows, told.candidates, strict=True)
        ],
        reason=evaluation.reason,
        coded_reason=evaluation.reason,
    )
