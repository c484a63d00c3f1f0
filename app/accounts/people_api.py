"""A project's people over the API: members and their roles, invitations, password links, and one's own name and email."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from app.accounts import invitations, password_links, people
from app.database.engine import Db, WriteDb
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Body, Line, Page, Reply
from app.web.security import Caller, Role

router = APIRouter(tags=["people"])

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
_NOT_MEMBER: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "Not a member of the project"}}


class MemberReply(Reply):
    user_id: int
    name: str
    email: str
    role: Role
    since: datetime
    labels: int
    languages: list[str] = Field(description="Tags of BCP 47 in which they are asked; none: in all.")
    skills: list[str] = Field(description="Prompts that need another are not for them.")


class RoleIn(Body):
    role: Role


class InvitationIn(RoleIn):
    name: Line = Field("", description="Whom it is meant for, to tell open ones apart")


class InvitationReply(Reply):
    id: int
    path: str = Field(description="The address to send to the person, below the address of this installation; works once")
    role: Role
    name: str


class OpenInvitationReply(Reply):
    id: int
    role: Role
    name: str
    created_at: datetime
    expires_at: datetime


class LinkReply(Reply):
    path: str = Field(description="The address to send to the person, below the address of this installation; works once")


@router.get("/projects/{slug}/people", summary="The members of the project, by name")
def list_members(session: Db, project_id: CurrentProjectId) -> Page[MemberReply]:
    return Page(items=[MemberReply.model_validate(member) for member in people.members(session, project_id)])


@router.put("/projects/{slug}/people/{id}/role", status_code=204, responses=_NOT_MEMBER, summary="Give a member another role")
def set_role(session: WriteDb, caller: Caller, project_id: CurrentProjectId, user_id: Id, body: RoleIn) -> Response:
    people.set_role(session, project_id, user_id, body.role, caller)
    return Response(status_code=204)


@router.delete(
    "/projects/{slug}/people/{id}", status_code=204, responses=_NOT_MEMBER, summary="Take somebody's role away; labels stay"
)
def remove_member(session: WriteDb, caller: Caller, project_id: CurrentProjectId, user_id: Id) -> Response:
    people.remove_member(session, project_id, user_id, caller)
    return Response(status_code=204)


@router.post(
    "/projects/{slug}/people/{id}/password-link",
    status_code=201,
    responses=_NOT_MEMBER,
    summary="A single-use link by which a member chooses a new password",
)
def make_password_link(session: WriteDb, caller: Caller, project_id: CurrentProjectId, user_id: Id) -> LinkReply:
    return LinkReply(path=f"/password/{password_links.make_link(session, project_id, user_id, caller)}")


@router.get("/projects/{slug}/invitations", summary="Open invitations, the newest first")
def list_invitations(session: Db, project_id: CurrentProjectId) -> Page[OpenInvitationReply]:
    found = invitations.open_invitations(session, project_id)
    return Page(items=[OpenInvitationReply.model_validate(invitation) for invitation in found])


@router.post("/projects/{slug}/invitations", status_code=201, summary="A single-use link into the project")
def create_invitation(session: WriteDb, caller: Caller, project_id: CurrentProjectId, body: InvitationIn) -> InvitationReply:
    token, made = invitations.invite(session, project_id, body.role, caller.user_id, body.name)
    return InvitationReply(id=made.id, path=f"/invitations/{token}", role=body.role, name=made.name)


@router.delete(
    "/projects/{slug}/invitations/{id}",
    status_code=204,
    responses={404: {"description": "No such open invitation"}},
    summary="Withdraw an invitation",
)
def withdraw_invitation(session: WriteDb, caller: Caller, project_id: CurrentProjectId, invitation_id: Id) -> Response:
    invitations.revoke_invitation(session, project_id, invitation_id, caller.user_id)
    return Response(status_code=204)
