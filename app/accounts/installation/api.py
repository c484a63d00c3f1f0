"""Deactivating people and handing the ownership on, over the API."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from app.accounts.installation import service
from app.database.engine import WriteDb
from app.web.json_types import MAX_ID
from app.web.security import Caller

router = APIRouter(tags=["accounts"])

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "No such person"},
    409: {"description": "The only owner"},
}


@router.post(
    "/users/{id}/deactivate", status_code=204, responses=_REFUSALS, summary="Nothing lets the person in; what they made ends"
)
def deactivate_user(session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.deactivate(session, user_id, caller.user_id)
    return Response(status_code=204)


@router.post("/users/{id}/reactivate", status_code=204, responses={404: _REFUSALS[404]}, summary="They may sign in again")
def reactivate_user(session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.reactivate(session, user_id, caller.user_id)
    return Response(status_code=204)


@router.put("/users/{id}/ownership", status_code=204, responses={404: _REFUSALS[404]}, summary="Make the person an owner")
def give_ownership(session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.give_ownership(session, user_id, caller.user_id)
    return Response(status_code=204)


@router.delete("/users/{id}/ownership", status_code=204, responses=_REFUSALS, summary="The person is an owner no more")
def take_ownership(session: WriteDb, caller: Caller, user_id: Id) -> Response:
    service.take_ownership(session, user_id, caller.user_id)
    return Response(status_code=204)
