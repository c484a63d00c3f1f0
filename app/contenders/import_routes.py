"""Page: bringing in answers that other models or people wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Final, get_args

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from app.contenders.answers import AnswerRow, read_answers
from app.contenders.bringing_in import AnswersReport, import_answers
from app.database.engine import get_engine
from app.database.slices import beside_requests
from app.errors import Invalid, Refusal
from app.language.formats import count, listed, paragraph
from app.language.languages import _
from app.prompts.file_formats import Format
from app.prompts.importers import MAX_BYTES
from app.prompts.service import BadLine
from app.web.gate import CurrentProject
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

SHOWN_BAD_LINES: Final = 100


@dataclass(frozen=True)
class ImportForm:
    """The form as it was sent, and what it held; `refusal`: why nothing could be read."""

    pasted: str = ""
    format: str = "auto"
    skip_bad_lines: bool = False
    rows: list[AnswerRow | BadLine] = field(default_factory=list)
    refusal: Refusal | None = None


async def import_form(request: Request) -> ImportForm:
    """Read before the transaction begins, so that a slow sender holds up no writer."""
    form = await request.form()
    file, given, chosen = form.get("file"), form.get("pasted"), form.get("format")
    pasted, format = (value if isinstance(value, str) else "" for value in (given, chosen))
    name, data = "", pasted.encode("utf-8", "replace")
    if isinstance(file, UploadFile) and file.filename:
        name, data = file.filename, await file.read()
    sent = ImportForm(pasted, format, form.get("skip_bad_lines") == "on")
    try:
        rows = await run_in_threadpool(_read, name, data, format)
    except Refusal as refusal:
        return ImportForm(sent.pasted, sent.format, sent.skip_bad_lines, refusal=refusal)
    return ImportForm(sent.pasted, sent.format, sent.skip_bad_lines, rows)


def _read(name: str, data: bytes, format: str) -> list[AnswerRow | BadLine]:
    if not data.strip():
        raise Invalid(_("There is nothing to import: choose a file or paste answers."))
    return read_answers(data, next((known for known in get_args(Format) if known == format), None), name)


@router.get("/projects/{slug}/answers/import")
def show_import(request: Request, project: CurrentProject) -> Response:
    return _page(request, project, ImportForm(), "", 200)


@router.post("/projects/{slug}/answers/import", max_body_size=MAX_BYTES + 2**20)
async def bring_in(
    request: Request, form: Annotated[ImportForm, Depends(import_form)], project: CurrentProject, caller: Caller
) -> Response:
    if form.refusal is not None:
        return _page(request, project, form, form.refusal.detail, form.refusal.status)
    take = partial(import_answers, get_engine(request), project.id, form.rows)
    report = await beside_requests(partial(take, by=caller.user_id, skip_bad_lines=form.skip_bad_lines), len(form.rows))
    if report.rejected and not form.skip_bad_lines:
        return _page(request, project, form, report.refusal(), Invalid.status, report.rejected)
    return redirect(request, f"/projects/{project.slug}/prompts", _summary(report))


def _page(
    request: Request, project: CurrentProject, form: ImportForm, detail: str, status: int, rejected: list[BadLine] | None = None
) -> Response:
    bad = rejected or []
    return render(
        request,
        "contenders/import.html",
        status=status,
        project=project,
        form=form,
        detail=detail,
        rejected=bad[:SHOWN_BAD_LINES],
        more=max(0, len(bad) - SHOWN_BAD_LINES),
    )


def _summary(report: AnswersReport) -> str:
    sentences = [_("Imported %(answers)s.", answers=count(report.created, "answer"))]
    if report.prompts:
        sentences.append(_("With them came %(prompts)s.", prompts=count(report.prompts, "prompt")))
    if report.duplicates:
        sentences.append(_("Already there: %(answers)s.", answers=count(report.duplicates, "answer")))
    if report.rejected:
        lines = listed([*(str(bad.line) for bad in report.rejected[:10]), *(["…"] if len(report.rejected) > 10 else [])])
        sentences.append(_("Left out %(bad_lines)s: %(lines)s.", bad_lines=count(len(report.rejected), "bad line"), lines=lines))
    return paragraph(sentences)
