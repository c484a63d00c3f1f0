"""Pages: the leaderboard and its frontier. Reviewers and admins only: annotators must not know who wrote what."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.database.engine import Db
from app.errors import NotFound
from app.evaluation.leaderboard import frontier
from app.evaluation.leaderboard.service import Board, leaderboard
from app.language.languages import _
from app.models import Project
from app.runs.figures import charts
from app.web.gate import CurrentProjectId
from app.web.pages import render

router = APIRouter()

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


def _places(board: Board) -> dict[int, int]:
    return {row.standing.contender: place for place, row in enumerate(board.rows, 1) if row.standing.enough}
