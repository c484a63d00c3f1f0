"""Pages of talks. Without scripts each step is a form; the script of the page sends the same over the API, and streams."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from app.chats import service, turns
from app.chats.answering import Turn, written
from app.chats.api import ChatId, choosing
from app.chats.bodies import LONGEST_SAID, ChoiceIn, NewChat, TurnIn
from app.database.engine import Db, WriteDb, get_engine, read_session
from app.errors import Invalid, Refusal
from app.guidelines.service import told_text
from app.labels.forms import flags_of, spans_in, values_again, values_of
from app.labels.words import flags_on_page, reasons_on_page
from app.language.languages import _
from app.models import Project
from app.queue.task_requests import require_asked
from app.serving.bodies import Warm
from app.texts.safe_html import render_markdown
from app.web.field_errors import sentence
from app.web.forms import Submitted, Words
from app.web.gate import CurrentProject
from app.web.json_types import Body, cursor_id
from app.web.pages import redirect, render
from app.web.security import Caller, Principal

router = APIRouter()

Given = TypeVar("Given", bound=Body)

PAGE_ROWS = 50


@router.get("/projects/{slug}/chats")
def show_chats(
    request: Request,
    project: CurrentProject,
    caller: Caller,
    session: Db,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    if caller.practice_due:
        return redirect(request, f"/projects/{project.slug}/practice")
    here = f"/projects/{project.slug}/chats"
    found = service.list_own(session, project.id, caller.user_id, before=cursor_id(cursor), limit=PAGE_ROWS + 1)
    return render(
        request,
        "chats/list.html",
        project=project,
        talks=found[:PAGE_ROWS],
        client_id=str(uuid.uuid4()),
        next_url=f"{here}?cursor={found[PAGE_ROWS - 1].id}" if len(found) > PAGE_ROWS else "",
        first_url=here if cursor else "",
    )


@router.post("/projects/{slug}/chats")
def begin_chat(request: Request, project: CurrentProject, caller: Caller, session: WriteDb, words: Submitted) -> Response:
    require_asked(caller)
    chat = service.start(session, project.id, caller.user_id, _read(NewChat, words).client_id.lower())
    return redirect(request, f"/chats/{chat.id}")


@router.get("/chats/{id}")
def show_chat(request: Request, project: CurrentProject, caller: Caller, chat_id: ChatId) -> Response:
    return _page(request, project, caller, chat_id)


@router.post("/chats/{id}/turns")
async def say(
    request: Request, project: CurrentProject, caller: Caller, chat_id: ChatId, warm: Warm, words: Submitted
) -> Response:
    """What the script does piece by piece: the page comes once both answers are there."""
    try:
        require_asked(caller)
        body = _read(TurnIn, words)
        said = (chat_id, caller.user_id, body.client_id.lower(), body.text)
        engine = get_engine(request)
        turn = Turn(engine, warm, await written(engine, lambda session: turns.say(session, *said)))
        await turn.begin()
        async for _grown in turn.grow():
            pass
    except Refusal as refusal:
        return await run_in_threadpool(_page, request, project, caller, chat_id, refusal, words)
    return redirect(request, f"/chats/{chat_id}")


async def choice_form(request: Request) -> FormData:
    return await request.form()


@router.post("/chats/{id}/choice")
async def choose(
    request: Request, project: CurrentProject, caller: Caller, chat_id: ChatId, form: Annotated[FormData, Depends(choice_form)]
) -> Response:
    words = {name: value for name, value in form.items() if isinstance(value, str)}
    choice = words.get("choice")
    left_out = {"words"} if choice != "both_bad" else set()  # begun, and then the mind was changed
    if choice in ("tie", "both_bad"):
        left_out.add("strength")
    try:
        more = {"flags": flags_of(form), **spans_in(form)}
        body = _read(ChoiceIn, {name: value for name, value in words.items() if value and name not in left_out}, more)
        await written(get_engine(request), choosing(chat_id, caller, body.turn, body.verdict()))
    except Refusal as refusal:
        return await run_in_threadpool(_page, request, project, caller, chat_id, refusal, words, values_again(form))
    return redirect(request, f"/chats/{chat_id}")


def _read(model: type[Given], words: Words, more: Mapping[str, Any] | None = None) -> Given:
    """`more`: fields of several parts. Raises Invalid for a form that no page of ours sends, or what is too long."""
    given: dict[str, Any] = {name: value.replace("\r\n", "\n") for name, value in words.items() if name in model.model_fields}
    try:
        return model.model_validate(given | dict(more or {}))
    except ValidationError as error:
        problems = {".".join(map(str, one["loc"])): sentence(one) for one in error.errors()}
        raise Invalid(_("This cannot be sent as it is. Nothing was stored."), problems) from error


def _page(
    request: Request,
    project: Project,
    caller: Principal,
    chat_id: int,
    refusal: Refusal | None = None,
    words: Words | None = None,
    values: dict[str, Any] | None = None,
) -> Response:
    with read_session(get_engine(request)) as session:
        chat = service.own_chat(session, chat_id, caller.user_id)
        shown = service.turns_of(session, chat)
        guidelines = render_markdown(told_text(session, project))
    last = shown[-1] if shown else None
    values = values or values_of(None)
    return render(
        request,
        "chats/chat.html",
        status=refusal.status if refusal else 200,
        project=project,
        place=f"/projects/{project.slug}/chats",
        chat=chat,
        turns=shown,
        state="say" if last is None or last.state == "done" else last.state,
        last=last,
        refusal=refusal,
        words=words or {},
        values=values,
        flags=flags_on_page(project, values),
        reasons=reasons_on_page(project, values),
        client_id=str(uuid.uuid4()),
        longest=LONGEST_SAID,
        guidelines=guidelines,
    )
