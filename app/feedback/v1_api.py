"""`/v1/feedback`, beside `/v1/chat/completions`: what whoever talks to the model thought of an answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import WriteDb
from app.feedback import service
from app.feedback.bodies import FeedbackIn, GivenReply
from app.feedback.service import About
from app.models import Feedback, utc_now
from app.runs.checkpoints import current_policy
from app.serving.kept_answers import kept_answer
from app.serving.live_models import named_policy
from app.serving.openai_bodies import conversation_of
from app.web.json_types import json_reply
from app.web.security import Caller, Principal

router = APIRouter()


@router.post("/feedback", status_code=201)
def give_feedback(session: WriteDb, caller: Caller, body: FeedbackIn) -> Response:
    """The same send again is answered with what was kept."""
    found, created = service.give(session, _about(session, caller, body), body.said(), caller.user_id)
    return json_reply(_reply(found), 201 if created else 200)


@router.delete("/feedback/{client_id}")
def take_back(session: WriteDb, caller: Caller, client_id: Annotated[str, Path(max_length=36)]) -> Response:
    """Its texts go; a label that was made of it counts no more."""
    return json_reply(_reply(service.take_back(session, client_id.lower(), caller.user_id, utc_now())))


def _about(session: Session, caller: Principal, body: FeedbackIn) -> About:
    if body.completion_id is not None:
        project, policy, kept = kept_answer(session, caller, body.completion_id, body.index)
        return About(project.id, policy.id, kept.messages, kept.text, kept.id, f"{body.completion_id} {body.index}")
    assert body.model is not None
    assert body.messages is not None
    assert body.answer is not None
    project, named = named_policy(session, caller, body.model)
    policy = named or current_policy(session, project)
    messages = [dict(turn) for turn in conversation_of(body.messages)]
    return About(project.id, policy.id, messages, body.answer, None, body.model)


def _reply(found: Feedback) -> dict[str, object]:
    state = "waiting" if found.consent else "counted"
    if found.accepted is not None:
        state = "accepted" if found.accepted else "refused"
    if found.withdrawn_at is not None:
        state = "withdrawn"
    created = int(found.created_at.timestamp())
    return GivenReply.model_validate({"client_id": found.client_id, "state": state, "created": created}).model_dump()
