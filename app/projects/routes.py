"""Pages: a new project, and a project's settings."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.database.taking_turns import hold
from app.errors import Invalid, Refusal
from app.guidelines import starting_point
from app.language.languages import _
from app.models import Project
from app.projects import forms, service
from app.web.forms import Submitted, Words, edit_of, is_untouched, refuse_clashes, seen_of
from app.web.pages import redirect, render
from app.web.security import Caller, Principal

router = APIRouter()


def model_problem(request: Request, words: Submitted, caller: Caller) -> Invalid | None:
    """Why the base model that a form names cannot be used, found out before the transaction begins."""
    spec = words.get("base_model", "").strip()
    if not spec or not caller.is_owner or is_untouched(words, "base_model"):
        return None
    try:
        request.app.state.refuse_unusable_model(spec)
    except Invalid as refusal:
        return refusal
    return None


ModelProblem = Annotated[Invalid | None, Depends(model_problem)]


@router.get("/projects/new")
def new_project(request: Request) -> Response:
    return render(request, "projects/new.html", words={"name": "", "base_model": ""}, refusal=None)


@router.post("/projects")
def create_project(request: Request, words: Submitted, model_problem: ModelProblem, caller: Caller, session: WriteDb) -> Response:
    """The guidelines and criteria begin as the demo's, which are meant to be changed."""
    try:
        if model_problem is not None:
            raise model_problem
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
def show_settings(request: Request, slug: str, caller: Caller, session: Db) -> Response:
    project = service.get_project(session, slug)
    return _settings_page(request, session, project, _words(session, project, caller), caller)


@router.post("/projects/{slug}/settings")
def save_settings(
    request: Request, slug: str, words: Submitted, model_problem: ModelProblem, caller: Caller, session: WriteDb
) -> Response:
    project = service.get_project(session, slug)
    hold(session, project)  # two saves take turns, on PostgreSQL too
    stored = forms.words_of(project, with_base_model="base_model" in words)  # it may have become fixed meanwhile
    edit = edit_of(words, stored)
    try:
        if model_problem is not None and "base_model" in edit.changed:
            raise model_problem
        refuse_clashes(edit, partial(forms.field_words, project))
        service.update_project(session, project, forms.values_of(edit.shown, edit.changed, project), caller.user_id)
    except Refusal as refusal:
        session.expire(project)
        return _settings_page(request, session, project, edit.shown, caller, refusal)
    return redirect(request, f"/projects/{slug}/settings", _("Saved."))


def _words(session: Session, project: Project, caller: Principal) -> Words:
    """The form as this person finds it."""
    may_choose = caller.is_owner and not service.base_model_is_fixed(session, project)
    return forms.words_of(project, with_base_model=may_choose)


def _settings_page(
    request: Request, session: Session, project: Project, words: Words, caller: Principal, refusal: Refusal | None = None
) -> Response:
    errors = forms.errors_of(refusal.fields, words, project) if refusal else {}
    experts = forms.expert_groups(project)
    return render(
        request,
        "projects/settings.html",
        status=refusal.status if refusal else 200,
        project=project,
        words=words,
        seen=seen_of(_words(session, project, caller)),
        refusal=refusal,
        errors=errors,
        summary={
            name: _("%(field)s: %(sentence)s", field=forms.label_for(project, name), sentence=sentence)
            for name, sentence in errors.items()
        },
        base_model_is_fixed=service.base_model_is_fixed(session, project),
        plain={group.key: group for group in forms.plain_groups(project)},
        weights=forms.weight_fields(project),
        weights_help=forms.weights_help(),
        outside=forms.outside_fields(project),
        outside_help=forms.outside_help(),
        experts=experts,
        experts_open=any(field.name in errors for group in experts for field in group.fields),
    )
