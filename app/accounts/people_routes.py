"""Pages: a project's people: members and their roles, invitations, password links."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Path, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.accounts import invitations, password_links, people, service
from app.accounts.forms import ChangedRoleForm, InvitationForm
from app.database.engine import Db, WriteDb
from app.language.languages import _
from app.models import Project
from app.settings import Settings
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

LOOPBACK = ("localhost", "127.0.0.1", "::1")

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


@router.get("/projects/{slug}/people")
def people_page(request: Request, session: Db, project: CurrentProject) -> Response:
    return _people(request, session, project)


def _people(
    request: Request, session: Session, project: Project, *, link: str = "", role: str = "annotator", link_for: str = ""
) -> Response:
    """With the link just made, if one was: an invitation for a role, or a password link for a member."""
    return render(
        request,
        "accounts/people.html",
        status=201 if link else 200,
        project=project,
        members=people.members(session, project.id),
        invitations=invitations.open_invitations(session, project.id),
        link=link,
        only_here=bool(link) and urlsplit(link).hostname in LOOPBACK,
        role=role,
        link_for=link_for,
    )


def _address(request: Request, path: str) -> str:
    """A path as an address that a person can be sent."""
    settings: Settings = request.app.state.settings
    return (settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")) + path


@router.post("/projects/{slug}/invitations")
def invite(
    request: Request, project: CurrentProject, session: WriteDb, caller: Caller, form: Annotated[InvitationForm, Form()]
) -> Response:
    token, _made = invitations.invite(session, project.id, form.role, caller.user_id, form.name)
    return _people(request, session, project, link=_address(request, f"/invitations/{token}"), role=form.role)


@router.post("/projects/{slug}/invitations/{id}/revocation")
def withdraw_invitation(
    request: Request, project: CurrentProject, session: WriteDb, caller: Caller, invitation_id: Id
) -> Response:
    invitations.revoke_invitation(session, project.id, invitation_id, caller.user_id)
    return redirect(request, f"/projects/{project.slug}/people", _("The invitation is withdrawn."))


@router.post("/projects/{slug}/people/{id}/role")
def change_role(
    request: Request,
    project: CurrentProject,
    session: WriteDb,
    caller: Caller,
    user_id: Id,
    form: Annotated[ChangedRoleForm, Form()],
) -> Response:
    people.set_role(session, project.id, user_id, form.role, caller, seen=form.seen)
    return redirect(request, f"/projects/{project.slug}/people", _("The role is changed."))


@router.post("/projects/{slug}/people/{id}/removal")
def remove_member(request: Request, project: CurrentProject, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    people.remove_member(session, project.id, user_id, caller)
    return redirect(request, f"/projects/{project.slug}/people", _("They no longer belong to the project. Their labels stay."))


@router.post("/projects/{slug}/people/{id}/password-link")
def make_password_link(request: Request, project: CurrentProject, session: WriteDb, caller: Caller, user_id: Id) -> Response:
    token = password_links.make_link(session, project.id, user_id, caller)
    name = service.get_user(session, user_id).name
    return _people(request, session, project, link=_address(request, f"/password/{token}"), link_for=name)
