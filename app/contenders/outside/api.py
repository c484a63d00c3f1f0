"""Models outside over the API. An admin sees what may be picked for a project; where it is asked is the owner's business."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from app.contenders.outside import service
from app.contenders.outside.service import Registration, Use
from app.database.engine import Db, WriteDb
from app.models import OutsideModel
from app.web.json_types import MAX_ID, Body, Name, Reply
from app.web.security import Caller, Principal

router = APIRouter(tags=["evaluations"])

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
Price = Annotated[float, Field(ge=0, le=service.MOST_PRICE, description="US dollars for a million tokens.")]


class UseReply(Reply):
    runs: int
    prompt_tokens: int
    answer_tokens: int
    cost_usd: float | None = Field(description="Null where no price is known.")


class OutsideModelReply(Reply):
    id: int
    name: str
    model: str = Field(description="As it is asked for at its address.")
    address: str | None = Field(description="Shown to owners.")
    key_variable: str | None = Field(description="The variable of the environment that holds the key; shown to owners.")
    own_network: bool
    prompt_price: float | None
    answer_price: float | None
    use: UseReply | None = Field(description="Of all projects together; shown to owners.")
    created_at: datetime
    archived_at: datetime | None


class OutsideModels(Reply):
    items: list[OutsideModelReply]


class NewOutsideModel(Body):
    name: Name
    address: Annotated[str, Field(min_length=1, max_length=500, description="Such as https://api.example.org/v1.")]
    model: Name
    key_variable: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="A variable of the worker's environment that ends in _API_KEY. The key itself is never stored."
    )
    own_network: bool = Field(False, description="The address lies on this machine or in its network, and that is meant.")
    prompt_price: Price | None = None
    answer_price: Price | None = None


@router.get("/outside-models")
def list_outside_models(session: Db, caller: Caller) -> OutsideModels:
    """All that were registered, those in use first. Few: there are no pages."""
    used = service.uses(session) if caller.is_owner else {}
    return OutsideModels(items=[_reply(one, caller, used) for one in service.list_models(session, archived=caller.is_owner)])


@router.post("/outside-models", status_code=201)
def register_outside_model(session: WriteDb, caller: Caller, body: NewOutsideModel) -> OutsideModelReply:
    """Let projects ask a model at an OpenAI-compatible address."""
    given = Registration(**body.model_dump() | {"key_variable": body.key_variable or ""})
    return _reply(service.register(session, given, caller.user_id), caller, {})


@router.delete("/outside-models/{id}", status_code=204, summary="Ask it no more; its answers stay")
def archive_outside_model(session: WriteDb, caller: Caller, model_id: Id) -> Response:
    service.archive(session, model_id, caller.user_id)
    return Response(status_code=204)


def _reply(model: OutsideModel, caller: Principal, used: Mapping[int, Use]) -> OutsideModelReply:
    hidden = () if caller.is_owner else ("address", "key_variable")
    fields = {name: getattr(model, name) for name in OutsideModelReply.model_fields if name not in ("use", *hidden)}
    use = UseReply.model_validate(used.get(model.id, Use(0, 0, 0, None))) if caller.is_owner else None
    return OutsideModelReply(**fields | dict.fromkeys(hidden), use=use)
