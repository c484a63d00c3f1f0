"""Deactivating people and handing the ownership on, over the API."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from app.accounts.installation import service
from app.accounts.second_factor import service as second_factor
from app.database.engine import Db, WriteDb
from app.web.json_types import MAX_ID, Body, Reply
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


@router.delete(
    "/users/{id}/second-factor", status_code=204, summary="Turn off the second factor of somebody who lost their device"
)
def turn_second_factor_off(session: WriteDb, caller: Caller, user_id: Id) -> Response:
    second_factor.turn_off(session, user_id, caller.user_id)
    return Response(status_code=204)


class InstallationReply(Reply):
    admins_need_second_factor: bool


class InstallationChanges(Body):
    admins_need_second_factor: bool


@router.get("/installation", summary="What is asked of everybody")
def show_installation(session: Db) -> InstallationReply:
    return InstallationReply(admins_need_second_factor=second_factor.admins_need_it(session))


@router.patch(
    "/installation",
    responses={409: {"description": "The owner who asks has no second factor"}},
    summary="Change what is asked of everybody",
)
def change_installation(session: WriteDb, caller: Caller, body: InstallationChanges) -> InstallationReply:
    second_factor.require_of_admins(session, body.admins_need_second_factor, caller)
    return InstallationReply(admins_need_second_factor=body.admins_need_second_factor)
