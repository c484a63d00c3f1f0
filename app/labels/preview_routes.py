"""Page: the annotator's page as it will look, for the admin who sets it up. Whatever is sent from it is not stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.database.engine import Db
from app.guidelines.service import told_text
from app.guidelines.starting_point import told
from app.labels.forms import values_of
from app.language.languages import _
from app.models.criteria import asked, offered
from app.queue.claim import ServedTask
from app.texts.safe_html import render_markdown
from app.web.gate import CurrentProject
from app.web.pages import redirect, render

router = APIRouter()

Kind = Literal["comparison", "rating"]

# Samples, not answers of the project: an admin who also annotates would meet those again.
PROMPT: Final = "Explain to a six-year-old why the sky is blue."
ANSWERS: Final = (
    "Sunlight looks white, but it is made of **many colours**.\n\n"
    "1. The air is full of tiny bits.\n2. They bounce the blue light around the most.\n3. So blue comes to you from everywhere.",
    "The sky is blue because it mirrors the sea. `blue = sea`",
)


@router.get("/projects/{slug}/settings/preview")
def show_preview(
    request: Request, project: CurrentProject, session: Db, kind: Annotated[Kind, Query()] = "comparison"
) -> Response:
    left, right = ANSWERS
    messages = [{"role": "user", "content": PROMPT}]
    criteria, rubric = told(project.criteria), asked(project.rubric)
    shown_right = right if kind == "comparison" else None
    task = ServedTask(0, kind, None, messages, left, shown_right, criteria, project.guideline_version)
    return render(
        request,
        "labels/preview.html",
        project=project,
        task=replace(task, rubric=rubric, span_reasons=offered(project.span_reasons)),
        submits_to=f"/projects/{project.slug}/settings/preview?kind={kind}",
        opened="",
        values=values_of(None),
        refusal=None,
        client_id="",
        flags=told(project.flags),
        skip_reasons=(),
        verdicts=(),
        guidelines=render_markdown(told_text(session, project)),
    )


@router.post("/projects/{slug}/settings/preview")
def store_nothing(request: Request, project: CurrentProject, kind: Annotated[Kind, Query()] = "comparison") -> Response:
    message = _("Here the verdict would be saved, and the next task would come. Nothing was stored.")
    return redirect(request, f"/projects/{project.slug}/settings/preview?kind={kind}", message, tone="note")
