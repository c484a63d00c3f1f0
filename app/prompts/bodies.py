"""What imports answer over the API: how many came in, and which lines could not."""

from __future__ import annotations

from pydantic import Field
from starlette.responses import JSONResponse

from app.errors import Invalid
from app.language.languages import known
from app.prompts.service import ImportReport
from app.web.json_types import Reply


class RejectedLine(Reply):
    line: int
    why: str


class NearLineReply(Reply):
    line: int
    prompt_id: int
    twin_id: int
    twin_line: int | None = Field(description="Of the twin, where it came with the same import.")
    leaks: bool = Field(description="One of both is held out and the other trained on: figures from held-out prompts flatter.")


class ImportReply(Reply):
    created: int
    duplicates: int
    rejected: list[RejectedLine]
    left_out: list[str] = Field(description="Names of keys whose values were too long to keep beside the prompt.")
    near: list[NearLineReply] = Field(description="Prompts that say nearly the same as another; they were imported all the same.")
    warning: str | None = Field(None, description="Why no round could train on any prompt that the project has now.")


class ImportProblem(Reply):
    """Why nothing was imported: a problem (RFC 9457) that names every bad line, where that is why."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = Field(default_factory=list)
    created: int = 0
    duplicates: int = 0
    rejected: list[RejectedLine] = Field(default_factory=list)


def refused(report: ImportReport) -> JSONResponse:
    """The reply where bad lines kept everything out."""
    rejected = [RejectedLine.model_validate(bad) for bad in report.rejected]
    problem = ImportProblem(
        type="about:blank", title=known(Invalid.title), status=Invalid.status, detail=report.refusal(), rejected=rejected
    )
    return JSONResponse(problem.model_dump(), Invalid.status, media_type="application/problem+json")
