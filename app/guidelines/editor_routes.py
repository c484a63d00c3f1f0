"""Page: the guideline editor, with a preview, what would change, and every version there was."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import Conflict, Refusal
from app.guidelines.service import MAX_GUIDELINES, edit, guideline, told_text, versions
from app.guidelines.starting_point import told_guidelines
from app.language.languages import _
from app.models import Project
from app.texts.diff import changed_lines
from app.texts.safe_html import render_markdown
from app.web.forms import Submitted
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller
from trainer.contract.texts import trimmed

router = APIRouter()


@router.get("/projects/{slug}/settings/guidelines")
def edit_guidelines(
    request: Request,
    project_id: CurrentProjectId,
    session: Db,
    start: Annotated[int | None, Query(alias="from", ge=1, le=MAX_ID, description="write on from this version")] = None,
) -> Response:
    project = session.get_one(Project, project_id)
    text = told_guidelines(guideline(session, project, start).text)
    return _page(request, session, project, text, project.guideline_version)


@router.post("/projects/{slug}/settings/guidelines")
def save_guidelines(
    request: Request, project_id: CurrentProjectId, words: Submitted, caller: Caller, session: WriteDb
) -> Response:
    project = session.get_one(Project, project_id)
    text = words.get("guidelines", "").replace("\r\n", "\n")
    seen = words.get("seen_guidelines", "")
    started_from = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 10 else None
    if words.get("do") == "preview":
        return _page(request, session, project, text, started_from, previewed=True)
    try:
        edit(session, project, text, caller.user_id, started_from)
    except Conflict as conflict:  # saving again is saving over theirs, knowingly: it stands on the page now
        return _page(request, session, project, text, project.guideline_version, conflict)
    except Refusal as refusal:
        return _page(request, session, project, text, started_from, refusal)
    message = _("Saved as version %(number)s. Annotators are shown what changed.", number=project.guideline_version)
    return redirect(request, f"/projects/{project.slug}/settings/guidelines", message)


def _page(
    request: Request,
    session: Session,
    project: Project,
    text: str,
    started_from: int | None,
    refusal: Refusal | None = None,
    *,
    previewed: bool = False,
) -> Response:
    in_force = told_text(session, project)
    usable = len(text) <= MAX_GUIDELINES
    return render(
        request,
        "guidelines/editor.html",
        status=refusal.status if refusal else 200,
        project=project,
        text=text,
        started_from=started_from or "",
        refusal=refusal,
        theirs=in_force if isinstance(refusal, Conflict) else None,
        body=render_markdown(text) if previewed and usable else None,
        lines=changed_lines(in_force, trimmed(text)) if usable and trimmed(text) != in_force else (),
        versions=versions(session, project.id),
    )
