"""People over the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy.orm import Session

from app.accounts import people, service
from app.accounts.service import Place
from app.database.engine import Db, WriteDb
from app.models import User
from app.web.json_types import Body, Limit, Line, Name, Page, Reply, Slug, cursor_id
from app.web.security import Caller, Principal, Role, Scope

router = APIRouter(tags=["accounts"])


class PersonIn(Body):
    name: Line
    email: Line
    role: Role = "annotator"
    projects: list[Slug] = Field(default_factory=list, max_length=100)


class PlaceReply(Reply):
    slug: str
    name: str
    role: Role


class PersonReply(Reply):
    id: int
    name: str
    email: str
    is_owner: bool
    active: bool = Field(description="False of somebody who was deactivated: nothing lets them in.")
    created_at: datetime
    projects: list[PlaceReply]


class OwnReply(PersonReply):
    scopes: list[Scope] | None = Field(description="What the key in use may do; null of a session, which may do all.")


class OwnChanges(Body):
    """A new email takes the account's password, so it is for the page."""

    name: Name


@router.get("/users", summary="People: all for the owner, those of their own projects for an admin")
def list_users(
    session: Db, caller: Caller, cursor: Annotated[str | None, Query()] = None, limit: Limit = 100
) -> Page[PersonReply]:
    found = people.list_people(session, caller, after=cursor_id(cursor) or 0, limit=limit + 1)
    items = [PersonReply.model_validate(person) for person in found[:limit]]
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


@router.post(
    "/users",
    status_code=201,
    responses={404: {"description": "A project the caller is not admin of"}, 409: {"description": "The address is taken"}},
    summary="A person for a program: works through keys, cannot sign in",
)
def create_user(session: WriteDb, caller: Caller, body: PersonIn) -> PersonReply:
    user = people.create_person(session, body.name, body.email, body.role, body.projects, caller)
    return _person(user, people.places_seen(session, [user.id], caller)[user.id])


@router.get("/users/me", summary="The person that the key acts as")
def show_own_account(session: Db, caller: Caller) -> OwnReply:
    return _own(session, caller)


@router.patch("/users/me", summary="Change one's own name")
def change_own_account(session: WriteDb, caller: Caller, body: OwnChanges) -> OwnReply:
    service.change_profile(session, caller.user_id, body.name, caller.email)
    return _own(session, caller)


def _own(session: Session, caller: Principal) -> OwnReply:
    person = _person(service.get_user(session, caller.user_id), service.places_of(session, caller.user_id, caller.project_ids))
    scopes = None if caller.via == "session" else sorted(caller.scopes)
    return OwnReply(**person.model_dump(), scopes=scopes)


def _person(user: User, places: Sequence[Place]) -> PersonReply:
    return PersonReply(
        id=user.id,
        name=user.name,
        email=user.email,
        is_owner=user.is_owner,
        active=user.disabled_at is None,
        created_at=user.created_at,
        projects=[_place(place) for place in places],
    )


def _place(place: Place) -> PlaceReply:
    return PlaceReply(slug=place.slug, name=place.name, role=place.role)
