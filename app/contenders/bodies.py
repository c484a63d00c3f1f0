"""What the calls of contenders take and give as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy.orm import Session

from app.contenders.service import names
from app.models import Contender
from app.web.json_types import Body, CodedMessage, Id, Name, Reply, Told, coded


class ContenderReply(Reply):
    id: int
    kind: Literal["policy", "best_of", "outside", "imported"]
    name: Told = Field(description="Ours are called by their checkpoint, in the language of the request.")
    coded_name: CodedMessage | None = coded("name")
    checkpoint_id: int | None
    best_of: int
    reward_id: int | None = Field(description="By which one of several answers is chosen.")
    outside_id: int | None = Field(description="Of a model outside: as the owner registered it.")
    created_at: datetime
    archived_at: datetime | None


class NewContender(Body):
    """A policy of the project's, asked once or best of several; a registered model outside; or, with a name, answers that were
    written elsewhere."""

    name: Name | None = None
    outside: Id | None = Field(None, description="A model outside that the owner registered.")
    checkpoint: Id | None = None
    best_of: Annotated[int, Field(ge=1, le=16)] = 1
    reward: Id | None = Field(None, description="The reward model that chooses; needed with best_of.")


def contender_replies(session: Session, found: Sequence[Contender]) -> list[ContenderReply]:
    called = names(session, [one.id for one in found])
    fields = [name for name in ContenderReply.model_fields if name not in ("name", "coded_name")]
    return [
        ContenderReply(
            **{name: getattr(one, name) for name in fields},
            name=called[one.id],
            coded_name=called[one.id],
        )
        for one in found
    ]
