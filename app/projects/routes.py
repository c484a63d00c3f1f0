"""Pages: a new project, and a project's settings."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.guidelines import starting_point
from app.language.languages import _
from app.models import Project
from app.projects import checks, forms, service
from app.web.forms import Submitted, Words, labelled
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()


@router.get("/projects/new")
def new_project(request: Request) -> Response:
    return render(request, "projects/new.html", words={"name": "", "base_model": ""}, refusal=None)


@router.post("/projects")
def create_project(request: Request, words: Submitted, caller: Caller, session: WriteDb) -> Response:
    """The guidelines and criteria begin as the demo's, which are meant to be changed."""
    try:
        values: service.ProjectValues = {
            "name": words.get("name", ""),
            "base_model": words.get("base_model", ""),
            "guidelines": starting_point.guidelines(),
            "criteria": starting_point.CRITERIA,
        }
        project = service.create_project(session, values, caller.user_id)
    except Refusal as refusal:
        shown = {"name": "", "base_model": ""} | words
        return render(request, "projects/new.html", status=refusal.status, words=shown, refusal=refusal)
    return redirect(request, f"/projects/{project.slug}/prompts/import", _("The project is there. Now give it prompts."))


@router.get("/projects/{slug}/settings")
def show_settings(request: Request, slug: str, session: Db) -> Response:
    project = service.get_project(session, slug)
    return _settings_page(request, session, project, forms.words_of(project))


@router.post("/projects/{slug}/settings")
def save_settings(request: Request, slug: str, words: Submitted, caller: Caller, session: WriteDb) -> Response:
    project = service.get_project(session, slug)
    try:
        service.update_project(session, project, forms.values_of(words, project), caller.user_id)
    except Refusal as refusal:
        return _settings_page(request, session, project, words, refusal)
    return redirect(request, f"/projects/{slug}/settings", _("Saved."))


def _settings_page(
    request: Request, session: Session, project: Project, words: Words, refusal: Refusal | None = None
) -> Response:
    fields = refusal.fields if refusal else {}
    return render(
        request,
        "projects/settings.html",
        status=refusal.status if refusal else 200,
        project=project,
        words=words,
        refusal=refusal,
        errors=fields,
        summary={name: labelled(name, sentence, forms.LABELS) for name, sentence in fields.items()},
        base_model_is_fixed=service.base_model_is_fixed(session, project),
        sampling_fields=forms.config_fields("sample"),
        training_fields={kind: forms.config_fields(kind) for kind in checks.TRAINED_BY_ROUNDS},
    )
