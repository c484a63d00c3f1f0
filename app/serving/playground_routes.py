"""Page: the playground, for admins. With scripts each answer streams into its pane; without, all come at once at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response, StreamingResponse

from app.database.engine import Db, WriteDb, get_engine, read_session
from app.database.failures import refusal_of
from app.errors import Broken, Invalid, Refusal
from app.language.languages import _
from app.models import Project
from app.serving import playground
from app.serving.bodies import Warm, unless_gone
from app.serving.live_models import conversation
from app.serving.playground import Asked, Played, Settings
from app.settings import Settings as Installed
from app.web.gate import CurrentProjectId
from app.web.json_types import json_dumps
from app.web.pages import redirect, render
from app.web.security import Caller
from trainer.contract.serving.questions import LARGEST_SEED, MOST_TOKENS

router = APIRouter()

HOTTEST: Final = 2.0
DEFAULT_TOKENS: Final = 128


@dataclass
class Shown:
    """One pane. `problem`: why there is no answer."""

    key: str
    text: str = ""
    finish_reason: str = ""
    seed: int | None = None
    score: float | None = None
    deviation: float | None = None
    problem: str = ""
    picked: bool = False


@dataclass(frozen=True)
class Form:
    """The form as it was sent."""

    prompt: str = ""
    who: tuple[str, ...] = ()
    settings: Settings = field(default_factory=lambda: Settings(DEFAULT_TOKENS, 0.7))
    answers: tuple[Played, ...] = ()  # that stood on the page, of which some may be ticked
    problem: Invalid | None = field(default=None, compare=False)


async def read_form(request: Request) -> Form:
    """Read before the transaction begins. A problem is for the route to show."""
    sent = await request.form()
    prompt, who = _text(sent, "prompt").replace("\r\n", "\n"), tuple(str(one) for one in sent.getlist("who"))
    places = [str(place) for place in range(1, playground.MOST_PLAYED + 1) if f"answer.{place}.who" in sent]
    answers = tuple(_played(sent, place, place in sent.getlist("pick")) for place in places)
    try:
        settings = Settings(_number(sent, "max_tokens", 1, MOST_TOKENS, whole=True), _number(sent, "temperature", 0, HOTTEST))
        conversation({"text": prompt})
    except Invalid as refusal:
        return Form(prompt, who, answers=answers, problem=refusal)
    return Form(prompt, who, settings, answers)


Sent = Annotated[Form, Depends(read_form)]


@router.get("/projects/{slug}/playground")
def show_playground(request: Request, session: Db, project_id: CurrentProjectId) -> Response:
    return _page(request, session, project_id, Form(), ())


@router.post("/projects/{slug}/playground")
async def play_without_scripts(request: Request, project_id: CurrentProjectId, warm: Warm, form: Sent) -> Response:
    """All answers, once they are there."""

    async def one(key: str) -> Shown:
        shown = Shown(key)
        async for event in _events(request, project_id, warm, key, form):
            shown.text += event.pop("text", "")
            for name, value in event.items():
                setattr(shown, name, value)
        return shown

    problem = form.problem
    if problem is None and not 1 <= len(form.who) <= playground.MOST_PLAYED:
        problem = Invalid(_("Choose one to %(most)s contenders.", most=playground.MOST_PLAYED), {"who": _("too few or too many")})

    async def all_of_them() -> list[Shown]:
        return await asyncio.gather(*(one(key) for key in form.who))

    answers = [] if problem is not None else await unless_gone(request, all_of_them())

    def page() -> Response:
        with read_session(get_engine(request)) as session:
            return _page(request, session, project_id, form, answers, problem)

    return await run_in_threadpool(page)


@router.post("/projects/{slug}/playground/answer")
async def stream_answer(request: Request, project_id: CurrentProjectId, warm: Warm, form: Sent) -> Response:
    """One contender's answer as server-sent events."""

    async def lines() -> AsyncIterator[str]:
        if form.problem is not None:
            yield f"data: {json_dumps({'problem': form.problem.detail})}\n\n"
            return
        async for event in _events(request, project_id, warm, form.who[0] if form.who else "", form):
            yield f"data: {json_dumps(event)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.post("/projects/{slug}/playground/prompt")
def keep_prompt(request: Request, session: WriteDb, caller: Caller, project_id: CurrentProjectId, form: Sent) -> Response:
    project = session.get_one(Project, project_id)
    if form.problem is not None:
        return _page(request, session, project_id, form, _still_there(form), form.problem)
    prompt = playground.keep_prompt(session, project, form.prompt, caller.user_id)
    return redirect(request, f"/prompts/{prompt.id}", _("It is a prompt of the project."))


@router.post("/projects/{slug}/playground/task")
def keep_task(request: Request, session: WriteDb, caller: Caller, project_id: CurrentProjectId, form: Sent) -> Response:
    project = session.get_one(Project, project_id)
    try:
        if form.problem is not None:
            raise form.problem
        prompt = playground.keep_task(session, project, form.prompt, form.answers, form.settings, caller.user_id)
    except Refusal as refusal:
        session.rollback()
        return _page(request, session, project_id, form, _still_there(form), refusal)
    return redirect(request, f"/prompts/{prompt.id}", _("People will be asked about it."))


def _still_there(form: Form) -> list[Shown]:
    """Answers that were written stay where they cannot be kept as they are."""
    return [Shown(one.key, one.text, one.finish_reason, one.seed, picked=one.picked) for one in form.answers]


async def _events(request: Request, project_id: int, warm: Warm, key: str, form: Form) -> AsyncIterator[dict[str, Any]]:
    """What happens to one answer; a refusal is an event, too: others may go on."""

    def who() -> Asked:
        with read_session(get_engine(request)) as session:
            return playground.asked(session, session.get_one(Project, project_id), key)

    try:
        asked = await run_in_threadpool(who)
        async for event in playground.play(warm, asked, form.prompt, form.settings):
            yield event
    except Exception as error:
        settings: Installed = request.app.state.settings
        expected = refusal_of(error, settings.data)
        yield {"problem": (expected or Broken()).detail}
        if expected is None:
            raise  # a bug of ours is logged as one, once whoever plays has been told


def _page(
    request: Request, session: Session, project_id: int, form: Form, answers: Sequence[Shown], problem: Refusal | None = None
) -> Response:
    project = session.get_one(Project, project_id)
    offered = playground.choices(session, project)
    return render(
        request,
        "serving/playground.html",
        status=problem.status if problem else 200,
        project=project,
        choices=offered,
        names={choice.key: choice.name for choice in offered},
        form=form,
        chosen=form.who or tuple(choice.key for choice in offered[:2]),
        most=playground.MOST_PLAYED,
        most_tokens=MOST_TOKENS,
        answers=[asdict(one) for one in answers],
        problem=problem,
        place=f"/projects/{project.slug}/leaderboard",
    )


def _text(sent: FormData, name: str) -> str:
    value = sent.get(name)
    return value[:100_000] if isinstance(value, str) else ""


def _number(sent: FormData, name: str, least: float, most: float, *, whole: bool = False) -> Any:
    text = _text(sent, name).strip()
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise Invalid(_("This must be a number from %(least)s to %(most)s.", least=least, most=most), {name: _("out of bounds")})
    return number


def _played(sent: FormData, place: str, picked: bool) -> Played:
    at = f"answer.{place}."
    seed = _text(sent, at + "seed")
    return Played(
        _text(sent, at + "who"),
        _text(sent, at + "text"),
        int(seed) if seed.isascii() and seed.isdigit() and len(seed) < 11 and int(seed) <= LARGEST_SEED else None,
        _text(sent, at + "finish_reason"),
        picked,
    )
