"""Pages: a project's prompts, one of them, and bringing more in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from app.assignment import people
from app.database.engine import Db, WriteDb, get_engine, read_session
from app.database.searching import total_of
from app.database.slices import beside_requests
from app.errors import Invalid, Refusal
from app.language.formats import count, listed, paragraph
from app.language.languages import _, ngettext
from app.prompts import importers, proposals, search, service
from app.prompts.api import ClusterKey, PromptId
from app.prompts.clusters.service import prompts_in
from app.prompts.conversations import checked_conversation
from app.prompts.lengths import room_of, told_of_import
from app.prompts.search import Answered, Near, PromptFilter
from app.prompts.service import BadLine, ImportReport, PromptRow
from app.prompts.twins.service import twins_of
from app.runs.left_out import left_out
from app.settings import Settings
from app.web.gate import CurrentProject, CurrentProjectId
from app.web.json_types import Line, cursor_id
from app.web.pages import redirect, render
from app.web.security import Caller

router = APIRouter()

PAGE_ROWS = 50
SHOWN_BAD_LINES = 100

View = Literal["all", "train", "holdout", "archived"]


class Search:
    """What the list is narrowed to, as it stands in its address and in the form that changes many at once."""

    def __init__(
        self,
        request: Request,
        project_id: CurrentProjectId,
        view: Annotated[View, Query()] = "all",
        text: Annotated[Line, Query()] = "",
        work: Annotated[Answered, Query()] = "",
        external_id: Annotated[Line, Query()] = "",
        language: Annotated[Line, Query()] = "",
        tag: Annotated[Line, Query()] = "",
        skill: Annotated[Line, Query()] = "",
        near: Annotated[Near, Query()] = "",
        cluster: Annotated[ClusterKey | None, Query()] = None,
    ) -> None:
        marks = {"language": language.strip(), "tag": tag.strip(), "skill": skill.strip()}
        self.chosen = {"view": view, "text": text.strip(), "work": work, "external_id": external_id.strip(), **marks}
        self.chosen |= {"near": near, "cluster": cluster or ""}
        self.view = view
        self.filter = PromptFilter(
            text=text.strip(),
            split="train" if view == "train" else "holdout" if view == "holdout" else None,
            archived=view == "archived",
            work=work,
            external_id=external_id.strip(),
            near=near,
            among=None if cluster is None else _prompts_in(request, project_id, cluster),
            **marks,
        )

    def address(self, slug: str) -> str:
        chosen = {name: value for name, value in self.chosen.items() if value and (name, value) != ("view", "all")}
        return f"/projects/{slug}/prompts" + (f"?{urlencode(chosen)}" if chosen else "")


def _prompts_in(request: Request, project_id: int, cluster: str) -> tuple[int, ...]:
    settings: Settings = request.app.state.settings
    with read_session(get_engine(request)) as session:
        return prompts_in(session, project_id, settings.runs, cluster)


Searched = Annotated[Search, Depends(Search)]


@router.get("/projects/{slug}/prompts")
def show_prompts(
    request: Request,
    project: CurrentProject,
    session: Db,
    searched: Searched,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    found = search.find_prompts(session, project.id, searched.filter, before=cursor_id(cursor), limit=PAGE_ROWS + 1)
    here = searched.address(project.slug)
    return render(
        request,
        "prompts/list.html",
        project=project,
        prompts=found[:PAGE_ROWS],
        twins=twins_of(session, found[:PAGE_ROWS]),
        counts=service.count_prompts(session, project.id),
        proposed=proposals.count_waiting(session, project.id),
        total=total_of(len(found), PAGE_ROWS, cursor, partial(search.count_fitting, session, project.id, searched.filter)),
        left_out=left_out(session, project, project.policy_id),
        practised=room_of(project).practised,
        unseen=people.unseen_words(people.unseen(session, project)),
        chosen=searched.chosen,
        view=searched.view,
        here=here,
        next_url=f"{here}{'&' if '?' in here else '?'}cursor={found[PAGE_ROWS - 1].id}" if len(found) > PAGE_ROWS else "",
        first_url=here if cursor else "",
    )


async def bulk_form(request: Request) -> FormData:
    return await request.form()


def ticked(form: FormData) -> list[int]:
    return [int(value) for value in form.getlist("id") if isinstance(value, str) and value.isdigit() and len(value) < 19]


@router.post("/projects/{slug}/prompts/archive")
async def archive_prompts(
    request: Request,
    project: CurrentProject,
    caller: Caller,
    searched: Searched,
    form: Annotated[FormData, Depends(bulk_form)],
) -> Response:
    """Those that are ticked, or all that fit the search."""
    chosen = searched.filter if form.get("all") == "on" else ticked(form)
    back = searched.view == "archived"
    engine = get_engine(request)
    deed = partial(search.put_many_away, engine, project.id, chosen, caller.user_id, back=back)
    changed = await beside_requests(deed, len(chosen) if isinstance(chosen, list) else None)
    prompts = count(changed, "prompt")
    message = _("In use again: %(prompts)s.", prompts=prompts) if back else _("Put away: %(prompts)s.", prompts=prompts)
    return redirect(request, searched.address(project.slug), message)


@router.get("/prompts/{id}")
def show_prompt(request: Request, project: CurrentProject, session: Db, prompt_id: PromptId) -> Response:
    return _prompt_page(request, project, session, prompt_id)


@router.post("/prompts/{id}")
def edit_prompt(
    request: Request,
    project: CurrentProject,
    caller: Caller,
    session: WriteDb,
    prompt_id: PromptId,
    form: Annotated[FormData, Depends(bulk_form)],
) -> Response:
    written = [value.replace("\r\n", "\n") for value in form.getlist("content") if isinstance(value, str)]
    before = service.get_prompt(session, prompt_id).messages
    messages = [{"role": old["role"], "content": new} for old, new in zip(before, written, strict=False)]
    try:
        service.edit_prompt(session, prompt_id, checked_conversation(messages), caller.user_id)
    except Refusal as refusal:
        return _prompt_page(request, project, session, prompt_id, messages, refusal)
    return redirect(request, f"/prompts/{prompt_id}", _("Saved."))


def _prompt_page(
    request: Request,
    project: CurrentProject,
    session: Session,
    prompt_id: int,
    messages: list[dict[str, str]] | None = None,
    refusal: Refusal | None = None,
) -> Response:
    prompt = service.get_prompt(session, prompt_id)
    return render(
        request,
        "prompts/prompt.html",
        status=refusal.status if refusal else 200,
        project=project,
        place=f"/projects/{project.slug}/prompts",
        prompt=prompt,
        twin=twins_of(session, [prompt]).get(prompt_id),
        left_out=left_out(session, project, project.policy_id).get(prompt.digest),
        practised=room_of(project).practised,
        messages=messages or prompt.messages,
        answers=search.answers_to(session, prompt_id),
        labels=search.count_labels_about(session, prompt_id),
        editable=not service.is_used(session, prompt_id),
        problem=refusal.detail if refusal else "",
        errors=refusal.fields if refusal else {},
    )


@dataclass(frozen=True)
class ImportForm:
    pasted: str
    format: str
    skip_bad_lines: bool
    rows: list[PromptRow | BadLine]
    refusal: Refusal | None


async def import_form(request: Request) -> ImportForm:
    """The submitted file or text, read and parsed before the transaction begins."""
    form = await request.form()
    file, pasted, format = form.get("file"), form.get("pasted"), form.get("format")
    pasted = pasted if isinstance(pasted, str) else ""
    format = format if isinstance(format, str) else "auto"
    name, data = "", pasted.encode("utf-8", "replace")
    if isinstance(file, UploadFile) and file.filename:
        name, data = file.filename, await file.read()
    rows: list[PromptRow | BadLine] = []
    refusal: Refusal | None = None
    try:
        rows = await run_in_threadpool(_parse, name, data, format)
    except Refusal as raised:
        refusal = raised
    return ImportForm(pasted, format, form.get("skip_bad_lines") == "on", rows, refusal)


def _parse(name: str, data: bytes, format: str) -> list[PromptRow | BadLine]:
    if not data.strip():
        raise Invalid(_("There is nothing to import: choose a file or paste prompts."))
    chosen = next((known for known in importers.FORMATS if known == format), None)
    return importers.read_upload(data, chosen, name)


@router.get("/projects/{slug}/prompts/import")
def show_import(request: Request, project: CurrentProject) -> Response:
    return render(
        request,
        "prompts/import.html",
        project=project,
        form=ImportForm("", "auto", False, [], None),
        rejected=[],
        more=0,
        detail="",
    )


@router.post("/projects/{slug}/prompts/import", max_body_size=importers.MAX_BYTES + 2**20)
async def import_prompts(
    request: Request, form: Annotated[ImportForm, Depends(import_form)], project: CurrentProject, caller: Caller
) -> Response:
    if form.refusal is not None:
        return _import_page(request, project, form, form.refusal.detail, form.refusal.status)
    take = partial(service.import_prompts, get_engine(request), project.id, form.rows)
    report = await beside_requests(partial(take, by=caller.user_id, skip_bad_lines=form.skip_bad_lines), len(form.rows))
    if report.rejected and not form.skip_bad_lines:
        return _import_page(request, project, form, report.refusal(), Invalid.status, report.rejected)
    too_long = await told_of_import(get_engine(request), project.id, form.rows, report.created)
    return redirect(request, f"/projects/{project.slug}/prompts", paragraph(filter(None, (_summary(report), too_long))))


def _import_page(
    request: Request, project: CurrentProject, form: ImportForm, detail: str, status: int, rejected: list[BadLine] | None = None
) -> Response:
    return render(
        request,
        "prompts/import.html",
        status=status,
        project=project,
        form=form,
        detail=detail,
        rejected=(rejected or [])[:SHOWN_BAD_LINES],
        more=max(0, len(rejected or []) - SHOWN_BAD_LINES),
    )


def _summary(report: ImportReport) -> str:
    sentences = [_("Imported %(prompts)s.", prompts=count(report.created, "prompt"))]
    if report.duplicates:
        sentences.append(ngettext("%(num)s prompt was there already.", "%(num)s prompts were there already.", report.duplicates))
    if report.rejected:
        lines = listed([*(str(bad.line) for bad in report.rejected[:10]), *(["…"] if len(report.rejected) > 10 else [])])
        sentences.append(_("Left out %(bad_lines)s: %(lines)s.", bad_lines=count(len(report.rejected), "bad line"), lines=lines))
    if report.left_out:
        sentences.append(_("Too long to keep beside the prompts: %(names)s.", names=listed(report.left_out)))
    if nearly := report.nearly_there():
        sentences.append(nearly)
    return paragraph(sentences)


@router.post("/prompts/{id}/archive")
def archive_prompt(request: Request, project: CurrentProject, caller: Caller, session: WriteDb, prompt_id: PromptId) -> Response:
    search.put_away(session, project.id, [prompt_id], caller.user_id)
    return redirect(request, f"/projects/{project.slug}/prompts", _("Put away. No new answers are written for it."))


@router.post("/prompts/{id}/restore")
def restore_prompt(request: Request, project: CurrentProject, caller: Caller, session: WriteDb, prompt_id: PromptId) -> Response:
    search.put_away(session, project.id, [prompt_id], caller.user_id, back=True)
    return redirect(request, f"/projects/{project.slug}/prompts?view=archived", _("In use again."))
