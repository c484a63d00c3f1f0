"""What the calls about a project's end take and give as JSON."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.web.json_types import Body, Line, Reply


class Deletion(Body):
    name: Line = Field(description="The project's name once more: what is deleted does not come back.")


class ConsequencesReply(Reply):
    """What goes with a project."""

    people: int = Field(description="Members who lose it.")
    prompts: int
    answers: int
    labels: int
    checkpoints: int
    live_runs: int = Field(description="Runs that wait or work, which are cancelled.")
    folders: int = Field(description="Folders of runs.")
    octets: int = Field(description="Bytes in them and in the project's texts.")


class ArchivedReply(Reply):
    slug: str
    archived_at: datetime | None
