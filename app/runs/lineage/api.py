"""Lineage over the API, both ways. Who annotates must not know which models there are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field
from sqlalchemy import select

from app.database.engine import Db
from app.errors import NotFound
from app.language.languages import _
from app.models import Label
from app.runs import run_files
from app.runs.bodies import Data, Kind, PathId
from app.runs.checkpoints import get_checkpoint
from app.runs.lineage.data_set import data_sets
from app.runs.lineage.learners import learners_of
from app.web.json_types import MAX_ID, Reply

router = APIRouter(tags=["runs"])


class LearnerReply(Reply):
    run_id: int
    kind: Kind
    round_id: int | None
    version: int = Field(description="Of the verdict, that it learned from.")
    checkpoint_ids: list[int] = Field(
        description="What it left; of a round's reward run also the policies that were trained against it."
    )


class LearnersReply(Reply):
    items: list[LearnerReply]


class DataSetReply(Reply):
    run_id: int
    kind: Kind
    config: dict[str, Any]
    label_count: int | None
    files: list[str] = Field(description="In the run's folder, of which the digest is.")
    digest: str = Field(description="SHA-256 of the SHA-256 of each file, as it was when they were frozen.")
    digest_now: str | None = Field(description="As it is now; null where a file is gone.")
    is_the_same: bool


class DataSetsReply(Reply):
    items: list[DataSetReply]
    program: str | None = Field(
        description="The version of Tastemaker that wrote the checkpoint, with the commit where it ran from a clone; null where "
        "its manifest does not say."
    )


@router.get("/labels/{id}/learners", summary="What learned from a verdict")
def show_learners(session: Db, data: Data, id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> LearnersReply:
    """From any of its versions; the newest run first, of the latest fifty that learned from labels."""
    label = session.get(Label, id)
    if label is None:
        raise NotFound(_("There is no such label."))
    mine = (Label.task_id == label.task_id, Label.annotator_id == label.annotator_id)
    versions = session.scalars(select(Label).where(*mine)).all()
    items = [
        LearnerReply(
            run_id=one.run.id,
            kind=one.run.kind,
            round_id=one.round.id if one.round else None,
            version=one.version,
            checkpoint_ids=[checkpoint.id for checkpoint in one.checkpoints],
        )
        for one in learners_of(session, versions, data / "runs")
    ]
    return LearnersReply(items=items)


@router.get("/checkpoints/{id}/data", summary="From which labels a checkpoint learned, its digest computed anew")
def show_data(session: Db, data: Data, id: PathId) -> DataSetsReply:
    """Of a policy that PPO trained: the labels of its reward model, and its own demonstrations."""
    checkpoint = get_checkpoint(session, id)
    found = data_sets(session, checkpoint, data / "runs")
    items = [
        DataSetReply(
            run_id=one.run.id,
            kind=one.run.kind,
            config=one.run.config,
            label_count=one.run.label_count,
            files=list(one.files),
            digest=one.digest,
            digest_now=one.found,
            is_the_same=one.is_the_same,
        )
        for one in found
    ]
    return DataSetsReply(items=items, program=run_files.program(data.resolve(), checkpoint.source))
