"""Page: the models outside of an installation, for its owner."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.contenders.outside import service
from app.contenders.outside.service import Registration
from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.language.languages import _
from app.web.forms import Submitted, Words, number_of
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
FIELDS = ("name", "address", "model", "key_variable", "own_network", "prompt_price", "answer_price")
LONGEST = {"name": 200, "address": 500, "model": 200, "key_variable": 100}


@router.get("/outside-models")
def show_models(request: Request, session: Db) -> Response:
    return _page(request, session, {})


@router.post("/outside-models")
def register(request: Request, session: WriteDb, caller: Caller, words: Submitted) -> Response:
    try:
        made = service.register(session, _registration(words), caller.user_id)
    except Refusal as refusal:
        return _page(request, session, words, refusal)
    return redirect(request, "/outside-models", _("%(name)s is registered. Projects can pick it now.", name=made.name))


@router.post("/outside-models/{id}/archive")
def archive(request: Request, session: WriteDb, caller: Caller, model_id: Id) -> Response:
    service.archive(session, model_id, caller.user_id)
    return redirect(request, "/outside-models", _("It is asked no more. What it answered stays."))


def _registration(words: Words) -> Registration:
    text = {name: words.get(name, "").strip()[:most] for name, most in LONGEST.items()}
    return Registration(
        name=text["name"],
        address=text["address"],
        model=text["model"],
        key_variable=text["key_variable"],
        own_network=words.get("own_network") == "on",
        prompt_price=_price(words.get("prompt_price", "")),
        answer_price=_price(words.get("answer_price", "")),
    )


def _price(text: str) -> float | None:
    """What is no number is no price, either: the service says so."""
    number = number_of(text)
    return number if number is None else float(number) if isinstance(number, int | float) else -1.0


def _page(request: Request, session: Session, words: Words, refusal: Refusal | None = None) -> Response:
    models = service.list_models(session, archived=True)
    return render(
        request,
        "contenders/outside.html",
        status=refusal.status if refusal else 200,
        models=models,
        uses=service.uses(session),
        without_key={model.id for model in models if not service.key_is_set(model)},
        words=dict.fromkeys(FIELDS, "") | words,
        refusal=refusal,
    )
