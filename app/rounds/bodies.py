"""What the calls of rounds take and give as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field
from sqlalchemy.orm import Session

from app.evaluation.service import evaluation_of
from app.models import Checkpoint, Round
from app.rounds import service
from app.runs.bodies import CheckpointSummary, RunReply, run_replies
from app.runs.checkpoints import policies_of_round
from app.web.json_types import Body, CodedMessage, Id, JsonObject, Note, Reply, Told, coded

Kind = Literal["sample", "reward", "ppo", "preference", "sft"]


class RoundReply(Reply):
    id: int
    number: int
    state: Literal["reward", "ppo", "sample", "evaluation", "decision", "done", "refused", "failed", "cancelled"]
    trigger: str
    label_count: int
    config: dict[str, Any]
    start_policy_id: int
    reward_id: int | None
    candidate_id: int | None
    evaluation_id: int | None = Field(None, description="Where people judge its candidates, or did.")
    reason: Told = Field(description="Why it was refused, failed or decided so, in the language of the request.")
    coded_reason: CodedMessage | None = coded("reason")
    decision: Literal["promoted", "rejected"] | None
    decided_at: datetime | None
    started_at: datetime
    ended_at: datetime | None
    runs: list[RunReply] = []
    candidate: CheckpointSummary | None = None
    candidates: list[CheckpointSummary] = Field([], description="Of several methods all; the candidate is one of them.")


class NewRound(Body):
    start: Id | None = Field(None, description="The policy checkpoint that PPO goes on from; by default the promoted one.")
    config: dict[Literal["reward", "ppo", "preference", "sample"], JsonObject] = Field(
        default_factory=dict, description="Settings that differ from the project's, per stage."
    )
    methods: list[Literal["ppo", "preference"]] = Field(
        default=["ppo"],
        description="What trains the policy, each in turn from the same labels, for a candidate of its own; one is promoted.",
    )


class Promotion(Body):
    confirm: bool = Field(False, description="True: promote it though its score did not rise.")
    reason: Note = Field("", description="Why. Needed where people turned it down.")


class Rejection(Body):
    reason: Note = ""


class ExpectedReply(Reply):
    seconds: float
    measured: bool = Field(description="False: a guess, because this project has no finished run of that kind.")


class MemoryReply(Reply):
    peak: int = Field(description="Bytes at the peak, by arithmetic on the model's sizes and the settings.")
    there: int | None = Field(description="Bytes that a run may take; null on a GPU, where the worker knows.")
    parts: dict[str, int] = Field(description="Bytes by what takes them, the most first.")
    computes_twice: bool = Field(description="Whether layers are computed twice to save memory.")
    refusal: str = Field(description="Why it would not be started; empty where it fits.")


class NextRoundReply(Reply):
    triggers_on: bool
    new_labels: int
    labels_left: int | None
    due_at: datetime | None
    waits_for: str
    expected: dict[str, ExpectedReply]
    memory: dict[str, MemoryReply] = Field(description="By stage; empty where nothing tells the model's sizes.")


def round_reply(session: Session, round_: Round) -> RoundReply:
    candidate = session.get(Checkpoint, round_.candidate_id) if round_.candidate_id else None
    evaluation = evaluation_of(session, round_)
    return RoundReply.model_validate(round_).model_copy(
        update={
            "evaluation_id": evaluation.id if evaluation else None,
            "runs": run_replies(session, service.runs_of_round(session, round_.id)),
            "candidate": CheckpointSummary.model_validate(candidate) if candidate else None,
            "candidates": [CheckpointSummary.model_validate(one) for one in policies_of_round(session, round_.id)],
        }
    )
