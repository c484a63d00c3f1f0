"""Page: what annotators are asked: criteria, flags, the mix of tasks and what it costs."""

from __future__ import annotations

from collections.abc import Container
from typing import cast

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.database.taking_turns import hold
from app.errors import Conflict, Refusal
from app.guidelines.starting_point import told
from app.language.formats import paragraph
from app.language.languages import _, known, ngettext
from app.models import Project
from app.projects import question_forms, service
from app.projects.costs import RoundCost, Shares, round_cost
from app.projects.question_forms import Questions
from app.projects.service import ProjectValues
from app.queue import make_tasks
from app.runs.run_settings import usual_answers
from app.texts.diff import Line, changed_lines
from app.web.forms import SEEN, Submitted, edit_of, labelled, refuse_clashes, seen_of
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()


@router.get("/projects/{slug}/settings/questions")
def show_questions(request: Request, slug: str, session: Db) -> Response:
    project = service.get_project(session, slug)
    return _page(request, session, project, question_forms.questions_of(project))


@router.post("/projects/{slug}/settings/questions")
def save_questions(request: Request, slug: str, words: Submitted, caller: Caller, session: WriteDb) -> Response:
    """Saves, unless the button pressed was one of a row: then the page comes back with that done and nothing saved."""
    project = service.get_project(session, slug)
    hold(session, project)  # two saves take turns, on PostgreSQL too
    questions = question_forms.read_questions(words)
    if question_forms.act(questions, words.get("do", ""), project.retired):
        return _page(request, session, project, questions, seen=words.get(SEEN, ""), unsaved=True)
    stored = question_forms.questions_of(project)
    edit = edit_of(question_forms.fields_of(questions, words.get(SEEN, "")), question_forms.fields_of(stored))
    questions = question_forms.merged(questions, stored, edit.changed.keys())
    try:
        refuse_clashes(edit, question_forms.field_words)
        values = question_forms.values_of(questions, _used(project))
        service.update_project(session, project, _only(values, edit.changed), caller.user_id)
    except Refusal as refusal:
        return _page(request, session, project, questions, refusal)
    return redirect(request, f"/projects/{slug}/settings/questions", _saved(session, project))


def _only(values: ProjectValues, changed: Container[str]) -> ProjectValues:
    return cast(ProjectValues, {name: value for name, value in values.items() if name in changed})


def _saved(session: Session, project: Project) -> str:
    in_hand = make_tasks.tasks_in_hand(session, project.id)
    if not in_hand:
        return _("Saved.")
    kept = ngettext(
        "%(num)s task is on somebody's page as it was before; its verdict is kept as it is given.",
        "%(num)s tasks are on somebody's page as they were before; their verdicts are kept as they are given.",
        in_hand,
    )
    return paragraph([_("Saved."), kept])


def _page(
    request: Request,
    session: Session,
    project: Project,
    questions: Questions,
    refusal: Refusal | None = None,
    *,
    seen: str = "",
    unsaved: bool = False,
) -> Response:
    errors = refusal.fields if refusal else {}
    return render(
        request,
        "projects/questions.html",
        status=refusal.status if refusal else 200,
        project=project,
        questions=questions,
        seen=seen or seen_of(question_forms.fields_of(question_forms.questions_of(project))),
        displays=[(value, known(words)) for value, words in question_forms.DISPLAYS.items()],
        unsaved=unsaved,
        lines=_changes(project, questions) if isinstance(refusal, Conflict) else (),
        refusal=refusal,
        errors=errors,
        summary={name: labelled(name, sentence, question_forms.LABELS) for name, sentence in errors.items()},
        fixed=_used(project),
        gone={kind: _gone(project, questions, kind) for kind in question_forms.PARTS},
        most=question_forms.MOST,
        cost=_cost(session, project, questions),
        written=_written_for_rankings(project, questions),
    )


def _changes(project: Project, questions: Questions) -> tuple[Line, ...]:
    return changed_lines(question_forms.as_text(question_forms.questions_of(project)), question_forms.as_text(questions))


def _stored_keys(project: Project, kind: str) -> set[str]:
    """Keys that labels may speak of already, so that they stay."""
    return {item["key"] for item in getattr(project, kind) + project.retired[kind]}


def _used(project: Project) -> dict[question_forms.Kind, set[str]]:
    return {kind: _stored_keys(project, kind) for kind in question_forms.PARTS}


def _gone(project: Project, questions: Questions, kind: question_forms.Kind) -> list[dict[str, str]]:
    """What was in use once and is not in the form."""
    here = {row["key"] for row in questions.rows[kind]}
    return [item for item in told(project.retired[kind]) if item["key"] not in here]


def _cost(session: Session, project: Project, questions: Questions) -> RoundCost | None:
    """For the numbers in the form, saved or not; none while one of them cannot be read."""
    values = question_forms.values_of(questions, _used(project))
    overlap, shares = values["overlap"], Shares(values["rating_share"], values["ranking_share"])
    if not isinstance(overlap, int) or not 1 <= overlap <= 20:
        return None
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares) or sum(shares) > 1:
        return None
    return round_cost(session, project, overlap, shares, project.trigger_labels)


def _written_for_rankings(project: Project, questions: Questions) -> str:
    """What the numbers in the form ask of the model, where that is more than is written else."""
    values, usual = question_forms.values_of(questions, _used(project)), usual_answers(project)
    share, answers = values["ranking_share"], values["ranking_answers"]
    if not isinstance(share, int | float) or share <= 0 or not isinstance(answers, int) or answers <= usual:
        return ""
    return _(
        "So that there is enough to put in order, the answers written to each prompt become %(answers)s in place of %(usual)s; "
        "what is written already is asked about as it was.",
        answers=answers,
        usual=usual,
    )
