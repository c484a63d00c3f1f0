"""Pages: a project's audit trail for its admins, the installation's for its owner."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.accounts.service import names_of
from app.audit.sentences import THINGS, action_words, detail_pairs, person_in, subject_words
from app.database.audit import entries
from app.database.engine import Db
from app.language.languages import _, known
from app.models import Project
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import render

router = APIRouter()

Before = Annotated[int | None, Query(ge=1, le=MAX_ID)]
Thing = Annotated[str, Query(max_length=40)]
Actor = Annotated[int | None, Query(ge=1, le=MAX_ID)]
PAGE = 50


@router.get("/projects/{slug}/audit")
def project_audit(
    request: Request, session: Db, project_id: CurrentProjectId, thing: Thing = "", actor: Actor = None, before: Before = None
) -> Response:
    project = session.get_one(Project, project_id)
    return _page(request, session, project, thing, actor, before)


@router.get("/audit")
def installation_audit(request: Request, session: Db, thing: Thing = "", actor: Actor = None, before: Before = None) -> Response:
    return _page(request, session, None, thing, actor, before)


def _page(
    request: Request, session: Session, project: Project | None, thing: str, actor: int | None, before: int | None
) -> Response:
    found = entries(session, project.id if project else None, thing=thing, actor_id=actor, before=before, limit=PAGE + 1)
    shown = found[:PAGE]
    names = names_of(session, {person for entry in shown for person in (entry.actor_id, person_in(entry.subject))})
    return render(
        request,
        "audit/audit.html",
        project=project,
        entries=[
            (entry, action_words(entry.action), subject_words(entry.subject, names), detail_pairs(entry.action, entry.details))
            for entry in shown
        ],
        names=names,
        things=[("", _("everything")), *((key, known(words)) for key, words in THINGS.items())],
        thing=thing,
        actor=actor,
        before=before,
        next_before=shown[-1].id if len(found) > PAGE else None,
        here=f"/projects/{project.slug}/audit" if project else "/audit",
    )
