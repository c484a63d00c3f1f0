"""Talks over the API: beginning one, saying something, choosing what goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.chats import service, turns
from app.chats.answering import Turn, written
from app.chats.bodies import (
    STREAM,
    ChatBegun,
    ChatReply,
    ChoiceIn,
    ChoiceReply,
    NewChat,
    OpeningReply,
    TurnIn,
    TurnReply,
)
from app.chats.service import TurnShown
from app.database.engine import Db, WriteDb, get_engine, read_session
from app.database.failures import refusal_of
from app.errors import Broken
from app.labels.verdict import Verdict
from app.language.languages import known
from app.models import utc_now
from app.queue.task_requests import require_asked
from app.serving.bodies import Warm, unless_gone
from app.settings import Settings
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Limit, Page, cursor_id, json_dumps, json_reply, moment_text
from app.web.security import Caller, Principal

router = APIRouter(tags=["chats"])

ChatId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]

INTERFACES: Final = {"session": "chat 1", "key": "api 1"}  # what a label says about where it was given
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "No such talk of yours"},
    409: {"description": "Clashes with how the talk stands"},
}


@router.post("/projects/{slug}/chats", status_code=201, responses={409: {"description": "Switched off here"}})
def begin_chat(session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: NewChat) -> ChatBegun:
    """A new talk; the same send again finds the same one."""
    require_asked(caller)
    return ChatBegun.model_validate(service.start(session, project_id, caller.user_id, body.client_id.lower()))


@router.get("/projects/{slug}/chats", summary="One's own talks, the newest first")
def list_chats(
    session: Db,
    caller: Caller,
    project_id: CurrentProjectId,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Page[OpeningReply]:
    found = service.list_own(session, project_id, caller.user_id, before=cursor_id(cursor), limit=limit + 1)
    items = [OpeningReply.model_validate(one) for one in found[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


@router.get("/chats/{id}", responses={404: {"description": "No such talk of yours"}})
def show_chat(session: Db, caller: Caller, chat_id: ChatId) -> ChatReply:
    """A talk, turn by turn, as its person sees it."""
    chat = service.own_chat(session, chat_id, caller.user_id)
    shown = [TurnReply.model_validate(turn) for turn in service.turns_of(session, chat)]
    return ChatReply(id=chat.id, created_at=chat.created_at, turns=shown)


@router.post("/chats/{id}/turns", response_class=StreamingResponse, responses={200: STREAM, **_REFUSALS})
async def say(request: Request, caller: Caller, chat_id: ChatId, warm: Warm, body: TurnIn) -> Response:
    """Say something; both continuations come as they are written. The same send again goes on with the same turn."""
    require_asked(caller)
    engine = get_engine(request)
    said = (chat_id, caller.user_id, body.client_id.lower(), body.text)
    turn = Turn(engine, warm, await written(engine, lambda session: turns.say(session, *said)))
    await unless_gone(request, turn.begin())
    headers = {"X-Accel-Buffering": "no"}  # nginx would keep the pieces until there are many
    settings: Settings = request.app.state.settings
    return StreamingResponse(_events(engine, turn, caller.user_id, settings), media_type="text/event-stream", headers=headers)


async def _events(engine: Engine, turn: Turn, annotator_id: int, settings: Settings) -> AsyncIterator[str]:
    yield _event({"turn": turn.asked.number})
    try:
        async for left, right in turn.grow():
            yield _event({"left": left, "right": right})
        done = await run_in_threadpool(_done, engine, turn, annotator_id)
    except Exception as error:
        expected = refusal_of(error, settings.data)
        refusal = expected or Broken()
        yield _event({"error": {"title": known(refusal.title), "status": refusal.status, "detail": refusal.detail}})
        if expected is None:
            raise  # a bug of ours is logged as one, once whoever reads has been told
        return
    yield _event(done)


def _done(engine: Engine, turn: Turn, annotator_id: int) -> dict[str, Any]:
    with read_session(engine) as session:
        chat = service.own_chat(session, turn.asked.chat_id, annotator_id)
        shown = service.turns_of(session, chat)[turn.asked.number - 1]
    return {"done": True, "left": _text(shown, "left"), "right": _text(shown, "right"), "reply": shown.reply}


def _text(shown: TurnShown, side: str) -> dict[str, Any]:
    continuation: service.Continuation = getattr(shown, side)
    return {"text": continuation.text, "cut": continuation.cut}


def _event(value: dict[str, Any]) -> str:
    return f"data: {json_dumps(value)}\n\n"


@router.post(
    "/chats/{id}/choice",
    response_model=ChoiceReply,
    responses={201: {"model": ChoiceReply, "description": "Stored"}, 200: {"description": "Stored before"}, **_REFUSALS},
    summary="Choose between a turn's continuations; sending it again changes nothing",
)
async def choose(request: Request, caller: Caller, chat_id: ChatId, body: ChoiceIn) -> Response:
    chosen = await written(get_engine(request), choosing(chat_id, caller, body.turn, body.verdict()))
    stored = chosen.stored
    reply = {
        "id": stored.id,
        "task_id": stored.task_id,
        "version": stored.version,
        "surplus": stored.surplus,
        "created_at": moment_text(stored.created_at),
        "reply": chosen.reply,
    }
    return json_reply(reply, 201 if stored.created else 200)


def choosing(chat_id: int, caller: Principal, number: int, verdict: Verdict) -> Callable[[Session], turns.Chosen]:
    """The write that stores the caller's choice."""
    return partial(
        turns.choose,
        chat_id=chat_id,
        annotator_id=caller.user_id,
        number=number,
        verdict=verdict,
        interface=INTERFACES[caller.via],
        now=utc_now(),
    )
