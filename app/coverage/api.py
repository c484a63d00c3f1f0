"""What a project's prompts cover, over the API. Who annotates must not know who wins."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import Field

from app.coverage.service import coverage_of
from app.database.engine import Db
from app.quality.bodies import FigureReply
from app.settings import Settings
from app.web.gate import CurrentProject
from app.web.json_types import CodedMessage, Reply, Told, coded

router = APIRouter(tags=["prompts"])


class ClusterReply(Reply):
    key: str = Field(description="By which `GET /projects/{slug}/prompts?cluster=` lists its prompts, after later maps, too.")
    number: int = Field(description="Its place on this map, from 1.")
    words: list[str] = Field(description="That set it apart, the strongest first; may be none.")
    prompts: int = Field(description="In use.")
    share: float = Field(description="Of the prompts in use that are on the map.")
    languages: dict[str, int] = Field(description='By tag, how many prompts; "" for those without one.')
    labels: int = Field(description="In force, of those that train.")
    few_labels: bool = Field(description="Under 30.")
    differ: FigureReply = Field(description="Of its tasks that several judged: on how many they said different things.")
    wins: FigureReply = Field(
        description="Of `compared` against the base; `n` counts prompts, each by the mean of its verdicts; a tie is half a win."
    )
    example_ids: list[int] = Field(description="Prompts nearest to its middle.")


class CoverageReply(Reply):
    run_id: int | None = Field(description="The reward run that drew the map; null while none has.")
    drawn_at: datetime | None
    prompts: int = Field(description="In use.")
    on_map: int
    not_yet: int = Field(description="In use, and not on the map: they came later, or no answer to them has been read.")
    compared: Told | None = Field(description="Who is held against the base: the policy in force, or the newest candidate.")
    coded_compared: CodedMessage | None = coded("compared")
    clusters: list[ClusterReply] = Field(description="The largest first.")


@router.get("/projects/{slug}/prompts/coverage", summary="What the prompts cover, cluster by cluster")
def show_coverage(request: Request, session: Db, project: CurrentProject) -> CoverageReply:
    settings: Settings = request.app.state.settings
    return CoverageReply.model_validate(coverage_of(session, project, settings.runs))
