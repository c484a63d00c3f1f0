"""Page: whether new annotators practise, and what a project's practice tasks and its people are at."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.database.taking_turns import hold
from app.errors import Refusal
from app.language.languages import N_, _
from app.models import Project
from app.practice import service as practice
from app.web.forms import Submitted, Words, edit_of, labelled, number_of, refuse_clashes, seen_of, share_of
from app.web.gate import CurrentProjectId
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

LABELS = {"practice_tasks": N_("Practice tasks"), "qualifying_score": N_("Right ones needed")}


@router.get("/projects/{slug}/settings/practice")
def show_practice_settings(request: Request, project_id: CurrentProjectId, session: Db) -> Response:
    project = session.get_one(Project, project_id)
    return _page(request, session, project, _words(project))


@router.post("/projects/{slug}/settings/practice")
def save_practice_settings(
    request: Request, project_id: CurrentProjectId, words: Submitted, caller: Caller, session: WriteDb
) -> Response:
    project = hold(session, session.get_one(Project, project_id))  # two saves take turns, on PostgreSQL too
    edit = edit_of(words, _words(project))
    values = {
        "practice_tasks": number_of(edit.shown["practice_tasks"]),
        "qualifying_score": share_of(edit.shown["qualifying_score"] or "0"),
    }
    try:
        refuse_clashes(edit)
        practice.set_rules(session, project, {name: values[name] for name in edit.changed}, caller.user_id)
    except Refusal as refusal:
        return _page(request, session, project, edit.shown, refusal)
    return redirect(request, f"/projects/{project.slug}/settings/practice", _("Saved."))


def _words(project: Project) -> Words:
    """The form as the project stands."""
    return {"practice_tasks": str(project.practice_tasks), "qualifying_score": f"{project.qualifying_score * 100:g}"}


def _page(request: Request, session: Session, project: Project, words: Words, refusal: Refusal | None = None) -> Response:
    errors = refusal.fields if refusal else {}
    return render(
        request,
        "practice/settings.html",
        status=refusal.status if refusal else 200,
        project=project,
        words=words,
        seen=seen_of(_words(project)),
        refusal=refusal,
        errors=errors,
        summary={name: labelled(name, sentence, LABELS) for name, sentence in errors.items()},
        tasks=practice.list_tasks(session, project.id),
        shares=practice.right_shares(session, project.id),
        people=practice.practising(session, project.id),
    )
