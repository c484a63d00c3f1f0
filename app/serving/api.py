"""The live reward model and policy over the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.database.engine import get_engine, read_session
from app.errors import NotFound
from app.language.languages import _
from app.models import Project
from app.serving.bodies import (
    AnswerReply,
    AnswersReply,
    GenerateIn,
    ScoreIn,
    ScoreReply,
    ScoresReply,
    Warm,
    seeds,
    unless_gone,
)
from app.serving.live_models import Live, conversation, live_models, require_reward
from app.web.gate import CurrentProjectId
from trainer.contract.serving.questions import Scoring, Writing

router = APIRouter(tags=["models"])


def scoring_models(request: Request, project_id: CurrentProjectId) -> Live:
    """Read before anybody waits for a model, so that no connection is held meanwhile."""
    return _live(request, project_id, None)


def writing_models(request: Request, project_id: CurrentProjectId, body: GenerateIn) -> Live:
    return _live(request, project_id, body.checkpoint)


def _live(request: Request, project_id: int, policy_id: int | None) -> Live:
    with read_session(get_engine(request)) as session:
        project = session.get(Project, project_id)
        if project is None:
            raise NotFound(_("There is no such project."))
        return live_models(session, project, policy_id)


@router.post(
    "/projects/{slug}/score",
    responses={409: {"description": "No reward model beats guessing yet, or the project is archived."}},
    summary="Answers scored by the live reward model",
)
async def score(request: Request, live: Annotated[Live, Depends(scoring_models)], warm: Warm, body: ScoreIn) -> ScoresReply:
    reward = require_reward(live)
    assert live.policy_id is not None, "a reward has a base"
    asked = Scoring(live.models, conversation(body.prompt), body.texts)
    scores = await unless_gone(request, warm.scores(asked))
    return ScoresReply(policy=live.policy_id, reward=reward, scores=[ScoreReply.model_validate(one) for one in scores])


@router.post("/projects/{slug}/generate", summary="Answers by the live policy, or by another of the project")
async def generate(
    request: Request, live: Annotated[Live, Depends(writing_models)], warm: Warm, body: GenerateIn
) -> AnswersReply:
    asked = Writing(
        live.models,
        conversation(body.prompt),
        body.max_tokens,
        body.temperature,
        body.top_p,
        seeds(body.seed, body.n),
    )
    prompt_tokens, answers = await unless_gone(request, warm.answers(asked))
    return AnswersReply(
        policy=live.policy_id,
        prompt_tokens=prompt_tokens,
        seed=asked.seeds[0],
        answers=[AnswerReply.model_validate(answer) for answer in answers],
    )
