"""Pages: a new project, and a project's settings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.db import Db, WriteDb
from app.errors import Refusal
from app.models import Project
from app.pages import redirect, render
from app.projects import checks, demo, forms, overview_routes, service
from app.projects.forms import Words
from app.security import Caller

router = APIRouter()


async def submitted(request: Request) -> Words:
    """The form's texts, read before the transaction begins."""
    return forms.read_words(await request.form())


Submitted = Annotated[Words, Depends(submitted)]


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
            "guidelines": demo.guidelines(),
            "criteria": demo.CRITERIA,
        }
        project = service.create_project(session, values, caller.user_id)
    except Refusal as refusal:
        shown = {"name": "", "base_model": ""} | words
        return render(request, "projects/new.html", status=refusal.status, words=shown, refusal=refusal)
    return redirect(request, f"/projects/{project.slug}/prompts/import", "The project is there. Now give it prompts.")


@router.get("/projects/{slug}/settings")
def show_settings(request: Request, slug: str, session: Db) -> Response:
    project = service.get_project(session, slug)
    return _settings_page(request, session, project, forms.words_of(project, service.guideline(session, project).text))


@router.post("/projects/{slug}/settings")
def save_settings(request: Request, slug: str, words: Submitted, caller: Caller, session: WriteDb) -> Response:
    project = service.get_project(session, slug)
    seen = words.get("seen_guidelines", "")
    try:
        service.update_project(
            session,
            project,
            forms.values_of(words, project),
            caller.user_id,
            seen_guidelines=int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 10 else None,
        )
    except Refusal as refusal:
        return _settings_page(request, session, project, words, refusal)
    return redirect(request, f"/projects/{slug}/settings", "Saved.")


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
        errors={forms.field_of(name): sentence for name, sentence in fields.items()},
        summary={forms.field_of(name): forms.labelled(name, sentence) for name, sentence in fields.items()},
        criteria_rows=forms.criteria_rows(words),
        base_model_is_fixed=service.base_model_is_fixed(session, project),
        sampling_fields=forms.config_fields("sample"),
        training_fields={kind: forms.config_fields(kind) for kind in checks.TRAINED_BY_ROUNDS},
    )


router.include_router(overview_routes.router)  # after /projects/new, which /projects/{slug} would take
