"""Pages: how far people agree, and one person as a judge. Reviewers and admins only; what changes something is for admins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Form, Path, Query, Request
from sqlalchemy import func, select
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.language.languages import N_, _
from app.models import Project, Round
from app.quality import exclusion
from app.quality.gold import pausing
from app.quality.gold.forms import ExclusionForm
from app.quality.measures.figure import Figure
from app.quality.people import Standing, people_of, person_of
from app.quality.service import Told, told
from app.runs.lineage.learners import rounds_that_learned
from app.settings import Settings
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

PersonId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]

ROUNDS: Final = 10  # the latest, in which the page of a person looks for their labels; a link looks in all
IN_GRID: Final = 16  # people whom the page compares with each other; the call has more

# name of the figure -> its label, "share" or a number's unit, and what it says
FIGURES: Final = (
    ("agrees", N_("Agrees with the others"), "share", N_("On tasks that somebody else judged, too; ratings within one step.")),
    ("steady", N_("The same again"), "share", N_("When a question came back, unrecognised. The best sign of care.")),
    ("gold", N_("Known answers"), "share", N_("Of questions whose answer is known.")),
    (
        "accuracy",
        N_("Right, as the others see it"),
        "share",
        N_("By what everybody’s verdicts make out to be true (Dawid and Skene)."),
    ),
    (
        "discrimination",
        N_("Tells better from worse"),
        "",
        N_("1 is average, 0 a guess, below 0 the opposite (Bradley and Terry)."),
    ),
    ("leniency", N_("Leniency"), "", N_("Steps of ratings above what others gave the same answers.")),
    ("left", N_("Chose the left answer"), "share", N_("Sides are drawn: about half, whoever judges the answers.")),
    (
        "longer",
        N_("Chose the longer answer"),
        "share",
        N_("Where one is longer by a quarter. People often do; beside the others it tells."),
    ),
    ("ties", N_("Ties"), "share", N_("Of comparisons.")),
    ("seconds", N_("Time for a label"), "s", N_("The median, of active time where it is known.")),
    ("reading", N_("Time over reading time"), "", N_("The median. 1: as long as reading the answers takes most people.")),
    ("hasty", N_("Faster than anybody reads"), "share", N_("Of labels, in under a quarter of the reading time.")),
)


@dataclass(frozen=True, slots=True)
class Grid:
    names: list[str]
    rows: list[tuple[str, list[Figure | None]]]


@router.get("/projects/{slug}/agreement")
def show_agreement(request: Request, session: Db, caller: Caller, project_id: CurrentProjectId) -> Response:
    project = session.get_one(Project, project_id)
    found = told(session, project_id)
    people = people_of(session, project_id, found, caller.user_id)
    return render(
        request,
        "quality/agreement.html",
        project=project,
        told=found,
        people=people,
        grid=_grid(found, people),
        criteria={one["key"]: one["name"] for one in [*project.retired.get("criteria", ()), *project.criteria]},
    )


def _grid(found: Told, people: Sequence[Standing]) -> Grid | None:
    """The people with the most labels, by name."""
    most = sorted(people, key=lambda one: -one.figures.labels)[:IN_GRID]
    shown = [one for one in people if one in most]
    alike = {(pair.first, pair.second): pair.alike for pair in found.report.pairs}
    if not alike:
        return None
    rows = [
        (one.name, [alike.get((min(one.user_id, other.user_id), max(one.user_id, other.user_id))) for other in shown])
        for one in shown
    ]
    return Grid([one.name for one in shown], rows)


@router.get("/projects/{slug}/annotators/{id}")
def show_person(
    request: Request,
    session: Db,
    caller: Caller,
    project_id: CurrentProjectId,
    user_id: PersonId,
    every_round: Annotated[bool, Query(description="look for their labels in all rounds, not in the latest alone")] = False,
) -> Response:
    settings: Settings = request.app.state.settings
    last = select(func.max(Round.number)).where(Round.project_id == project_id)
    found = told(session, project_id)
    return render(
        request,
        "quality/person.html",
        project=session.get_one(Project, project_id),
        told=found,
        one=person_of(session, project_id, found, user_id, caller.user_id),
        figures=[(name, _(label), unit, _(meaning)) for name, label, unit, meaning in FIGURES],
        rounds=rounds_that_learned(session, project_id, user_id, settings.runs, None if every_round else ROUNDS),
        has_older=not every_round and (session.scalar(last) or 0) > ROUNDS,
    )


@router.post("/projects/{slug}/annotators/{id}/exclusion")
def exclude(
    request: Request,
    project_id: CurrentProjectId,
    session: WriteDb,
    caller: Caller,
    user_id: PersonId,
    form: Annotated[ExclusionForm, Form()],
) -> Response:
    project = session.get_one(Project, project_id)
    exclusion.exclude(session, project, user_id, form.reason, caller.user_id)
    said = _("Their labels train nothing from now on. The rounds that learned from them are listed below.")
    return redirect(request, f"/projects/{project.slug}/annotators/{user_id}", said)


@router.post("/projects/{slug}/annotators/{id}/exclusion/removal")
def include(request: Request, project_id: CurrentProjectId, session: WriteDb, caller: Caller, user_id: PersonId) -> Response:
    project = session.get_one(Project, project_id)
    exclusion.include(session, project, user_id, caller.user_id)
    return redirect(request, f"/projects/{project.slug}/annotators/{user_id}", _("Their labels train again."))


@router.post("/projects/{slug}/annotators/{id}/resumption")
def resume(request: Request, project_id: CurrentProjectId, session: WriteDb, caller: Caller, user_id: PersonId) -> Response:
    project = session.get_one(Project, project_id)
    pausing.resume(session, project, user_id, caller.user_id)
    return redirect(request, f"/projects/{project.slug}/annotators/{user_id}", _("They are asked again."))
