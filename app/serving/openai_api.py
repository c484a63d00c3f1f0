"""`/v1/chat/completions` and `/v1/models`: existing clients talk to the model that people have just trained.

A model's name is its project's: `demo` is the policy in force there, `demo@12` checkpoint 12.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from app.database.engine import get_engine, read_session, write_turn
from app.database.failures import refusal_of
from app.errors import Broken
from app.serving import kept_answers
from app.serving.bodies import Warm, unless_gone
from app.serving.live_models import Live, answering_projects, named_models, named_policy
from app.serving.openai_bodies import Completion, CompletionIn
from app.serving.warm_process import Answer, Answering
from app.settings import Settings
from app.web.error_replies import openai_problem
from app.web.json_types import json_dumps, json_reply
from app.web.security import Caller, Principal
from trainer.contract.serving.questions import Writing

router = APIRouter()


@router.get("/models")
def list_models(request: Request, caller: Caller) -> dict[str, Any]:
    with read_session(get_engine(request)) as session:
        found = [(project.slug, int(project.created_at.timestamp())) for project in answering_projects(session, caller)]
    data = [{"id": slug, "object": "model", "created": created, "owned_by": "tastemaker"} for slug, created in found]
    return {"object": "list", "data": data}


def live_model(request: Request, caller: Caller, body: CompletionIn) -> Live:
    """Read before anybody waits for a model, so that no connection is held meanwhile."""
    with read_session(get_engine(request)) as session:
        return named_models(session, caller, body.model)


@router.post("/chat/completions")
async def complete(
    request: Request, caller: Caller, live: Annotated[Live, Depends(live_model)], warm: Warm, body: CompletionIn
) -> Response:
    asked, completion = body.asked_of(live.models), Completion(body.model)
    keeper = _Keeper(request, caller, live, completion, asked) if body.store else None
    if not body.stream:
        prompt_tokens, answers = await unless_gone(request, warm.answers(asked))
        if keeper is not None:
            await keeper.keep(answers)
        return json_reply(completion.whole(prompt_tokens, answers))
    held = AsyncExitStack()
    answering = await unless_gone(request, held.enter_async_context(warm.answering(asked)))
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    settings: Settings = request.app.state.settings
    return StreamingResponse(
        _events(completion, answering, held, len(asked.seeds), with_usage, keeper, settings.data),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},  # nginx would keep the pieces until there are many
    )


@dataclass(frozen=True)
class _Keeper:
    """Keeps a completion's answers, for its caller said `store`."""

    request: Request
    caller: Principal
    live: Live
    completion: Completion
    asked: Writing

    async def keep(self, answers: Sequence[Answer]) -> None:
        async with write_turn(get_engine(self.request)) as session:
            await to_thread.run_sync(self._keep, session, answers)

    def _keep(self, session: Session, answers: Sequence[Answer]) -> None:
        project, _policy = named_policy(session, self.caller, self.completion.model)
        said = (self.live, self.completion.id, self.asked, answers)
        kept_answers.keep(session, project.id, *said, self.caller.user_id)


async def _events(
    completion: Completion,
    answering: Answering,
    held: AsyncExitStack,
    count: int,
    with_usage: bool,
    keeper: _Keeper | None,
    data: Path,
) -> AsyncIterator[str]:
    """Server-sent events; where the reader goes away nobody writes on, and nothing is kept."""
    tokens, answers = 0, [Answer() for _ in range(count)]
    try:
        async with held:  # where the process dies, it is when this is left that it is known to be away
            for index in range(count):
                yield _event(completion.chunk(index, {"role": "assistant", "content": ""}))
            async for piece in answering.pieces:
                answers[piece.index].grow(piece)
                if piece.text:
                    yield _event(completion.chunk(piece.index, {"content": piece.text}))
                if piece.finish_reason:
                    tokens += piece.tokens
                    yield _event(completion.chunk(piece.index, {}, piece.finish_reason))
            if keeper is not None:
                await keeper.keep(answers)
    except Exception as error:
        known = refusal_of(error, data)
        refusal = known or Broken()
        yield _event({"error": openai_problem(refusal.status, refusal.detail, refusal.fields)})
        if known is None:
            raise  # a bug of ours is logged as one, once whoever reads has been told
        return
    if with_usage:
        yield _event(completion.last_chunk(answering.prompt_tokens, tokens))
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json_dumps(value)}\n\n"
