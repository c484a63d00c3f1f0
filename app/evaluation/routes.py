"""Pages: the drawing of an evaluation. Who annotates must not know how it stands: it would tell them what to answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.database.engine import Db
from app.errors import NotFound
from app.evaluation import drawing, service
from app.language.languages import _
from app.runs.bodies import PathId
from app.web.json_types import MAX_ID

router = APIRouter()


@router.get("/evaluations/{id}/interval.svg")
def show_interval(session: Db, id: PathId, candidate: Annotated[int, Query(ge=1, le=MAX_ID)], narrow: bool = False) -> Response:
    """Of one candidate. Its address carries how many prompts it is drawn of, so it may be kept for a while."""
    evaluation = service.get_evaluation(session, id)
    one = next((one for one in service.candidates_of(session, evaluation) if one.id == candidate), None)
    if one is None or not (one.standing or {}).get("track"):
        raise NotFound(_("There is nothing to draw yet."))
    assert one.standing is not None
    svg = drawing.draw(one.standing["track"], evaluation.planned, drawing.NARROW if narrow else drawing.WIDTH)
    headers = {"Content-Security-Policy": drawing.CONTENT_SECURITY_POLICY, "Cache-Control": "private, max-age=3600"}
    return Response(svg, media_type="image/svg+xml", headers=headers)
