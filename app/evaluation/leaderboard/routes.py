"""Pages: the leaderboard, its frontier, two contenders side by side. Reviewers and admins only: annotators must not know whose
answers are whose."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.contenders.service import list_contenders, names
from app.database.engine import Db
from app.errors import Invalid, NotFound
from app.evaluation.leaderboard import frontier
from app.evaluation.leaderboard.service import Board, leaderboard
from app.evaluation.leaderboard.side_by_side import contenders_of, side_by_side
from app.language.languages import _
from app.models import Project
from app.runs.checkpoints import prompts_judged_now
from app.runs.figures import charts
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, cursor_id
from app.web.pages import render

router = APIRouter()

ROWS: Final = 10  # prompts on a page
MOST_CHOICES: Final = 200  # contenders in a list to choose from, the newest
Length = Annotated[Literal["with", "without"], Query()]


@router.get("/projects/{slug}/leaderboard")
def show_leaderboard(request: Request, session: Db, project_id: CurrentProjectId, length: Length = "with") -> Response:
    project = session.get_one(Project, project_id)
    board = leaderboard(session, project, without_length=length == "without")
    return render(
        request,
        "evaluation/leaderboard.html",
        project=project,
        board=board,
        places=_places(board),
        length=length,
        alt=frontier.alt(board.frontier) if len(board.frontier) > 1 else "",
    )


@router.get("/projects/{slug}/leaderboard/frontier.svg")
def show_frontier(session: Db, project_id: CurrentProjectId, length: Length = "with", narrow: bool = False) -> Response:
    """The picture; the page has the same numbers."""
    board = leaderboard(session, session.get_one(Project, project_id), without_length=length == "without")
    if len(board.frontier) < 2:
        raise NotFound(_("Too little is known for a picture."))
    svg = frontier.draw(board.frontier, _places(board), charts.NARROW if narrow else charts.WIDTH)
    headers = {"Content-Security-Policy": charts.CONTENT_SECURITY_POLICY, "Cache-Control": "private, max-age=10"}
    return Response(svg, media_type="image/svg+xml", headers=headers)


@router.get("/projects/{slug}/leaderboard/side-by-side")
def show_side_by_side(
    request: Request,
    session: Db,
    project_id: CurrentProjectId,
    one: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    other: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """Two contenders on the same prompts; without their names only the choice of them."""
    project = session.get_one(Project, project_id)
    refusal, found = None, []
    if one is not None and other is not None:
        try:
            both = contenders_of(session, project, one, other)
            found = side_by_side(session, *both, before=cursor_id(cursor), limit=ROWS + 1)
        except Invalid as refused:
            refusal = refused
    here = f"/projects/{project.slug}/leaderboard/side-by-side"
    chosen = f"{here}?{urlencode({'one': one, 'other': other})}"
    listed = [contender.id for contender in list_contenders(session, project_id, limit=MOST_CHOICES, in_use=True)]
    return render(
        request,
        "evaluation/side_by_side.html",
        status=refusal.status if refusal else 200,
        project=project,
        rows=found[:ROWS],
        called=names(session, [*listed, *(named for named in (one, other) if named)]),
        one=one,
        other=other,
        refusal=refusal,
        judged_now=len(prompts_judged_now(session, project_id)),
        here=here,
        next_url=f"{chosen}&cursor={found[ROWS - 1].prompt.id}" if len(found) > ROWS else "",
        first_url=chosen if cursor else "",
        place=f"/projects/{project.slug}/leaderboard",
    )


def _places(board: Board) -> dict[int, int]:
    return {row.standing.contender: place for place, row in enumerate(board.rows, 1) if row.standing.enough}
