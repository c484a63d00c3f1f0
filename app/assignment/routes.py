"""The forms by which an admin says a member's languages and skills, and people their own languages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from starlette.responses import Response

from app.assignment import people
from app.database.engine import WriteDb
from app.language.languages import _
from app.web.gate import CurrentProject
from app.web.json_types import MAX_ID, FormBody, Text
from app.web.pages import redirect
from app.web.security import Caller

router = APIRouter()

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


class AssignmentForm(FormBody):
    languages: Text = ""
    skills: Text = ""


class OwnLanguagesForm(FormBody):
    languages: Text = ""


@router.post("/projects/{slug}/people/{id}/assignment")
def assign(
    request: Request,
    project: CurrentProject,
    session: WriteDb,
    caller: Caller,
    user_id: Id,
    form: Annotated[AssignmentForm, Form()],
) -> Response:
    given = {"languages": form.languages, "skills": form.skills}
    people.set_assignment(session, project.id, user_id, by=caller.user_id, **given)
    return redirect(request, f"/projects/{project.slug}/people", _("Saved."))


@router.post("/projects/{slug}/languages")
def say_languages(
    request: Request, project: CurrentProject, session: WriteDb, caller: Caller, form: Annotated[OwnLanguagesForm, Form()]
) -> Response:
    people.set_assignment(session, project.id, caller.user_id, by=caller.user_id, languages=form.languages)
    return redirect(request, f"/projects/{project.slug}/work", _("Saved."))
