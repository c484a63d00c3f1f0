"""API keys over the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from app.accounts.keys import service as keys
from app.database.engine import Db, WriteDb
from app.web.json_types import MAX_ID, Body, Line, Reply, Slug
from app.web.security import Caller, Scope

router = APIRouter(tags=["accounts"])

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


class KeyIn(Body):
    scopes: list[Scope] = Field(min_length=1, max_length=4)
    expires_in_days: int = Field(90, ge=1, le=keys.LONGEST_DAYS)
    name: Line = ""
    projects: list[Slug] | None = Field(
        None, min_length=1, max_length=100, description="The only projects it works in; null: wherever its person may go."
    )


class KeySummary(Reply):
    id: int
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    user_id: int
    user: str
    made_by: str | None = Field(description="A name; null of a key that was made before this was kept.")
    parent_id: int | None = Field(description="The key that minted it, which it ends with.")
    projects: list[str] | None = Field(description="The only projects it works in; null: wherever its person may go.")


class KeyReply(Reply):
    id: int
    key: str = Field(description="`tm_<id>_<secret>`; in this reply only")
    scopes: list[Scope]
    expires_at: datetime


@router.post(
    "/users/{id}/keys",
    status_code=201,
    responses={404: {"description": "No such person, or not one you may act as"}},
    summary="A key for oneself; for the owner, for anyone; for an admin, for programs. What a key mints ends with it",
)
def create_key(session: WriteDb, caller: Caller, user_id: Id, body: KeyIn) -> KeyReply:
    key, secret = keys.make_key(session, user_id, body.scopes, body.expires_in_days, caller, body.name, body.projects)
    return KeyReply(id=key.id, key=secret, scopes=key.scopes, expires_at=key.expires_at)


@router.get("/keys", summary="Keys that still work, newest first: one's own, or those of others that one may end")
def list_keys(session: Db, caller: Caller, whose: Annotated[Literal["own", "others"], Query()] = "own") -> list[KeySummary]:
    return [KeySummary.model_validate(key) for key in keys.list_keys(session, caller, whose)]


@router.delete(
    "/keys/{id}", status_code=204, responses={404: {"description": "No such key, or not yours"}}, summary="Revoke a key"
)
def delete_key(session: WriteDb, caller: Caller, key_id: Id) -> Response:
    keys.revoke_key(session, key_id, caller)
    return Response(status_code=204)
