"""The form of the list of prompts that marks many at once."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from app.database.engine import get_engine
from app.database.slices import beside_requests
from app.language.formats import count
from app.language.languages import _
from app.prompts.marks import service
from app.prompts.routes import Searched, bulk_form, ticked
from app.web.gate import CurrentProject
from app.web.pages import redirect
from app.web.security import Caller

router = APIRouter()

LISTS = ("add_tags", "remove_tags", "add_skills", "remove_skills")
NO_LANGUAGE = "-"


@router.post("/projects/{slug}/prompts/marks")
async def mark_prompts(
    request: Request,
    project: CurrentProject,
    caller: Caller,
    searched: Searched,
    form: Annotated[FormData, Depends(bulk_form)],
) -> Response:
    """Those that are ticked, or all that fit the search."""
    words = {name: value.strip() for name, value in form.items() if isinstance(value, str)}
    language = words.get("set_language", "")
    given = {"language": "" if language == NO_LANGUAGE else language or None}
    change = service.change_of(given | {name: words.get(name) or None for name in LISTS})
    chosen = searched.filter if form.get("all") == "on" else ticked(form)
    deed = partial(service.mark, get_engine(request), project.id, chosen, change, caller.user_id)
    changed = await beside_requests(deed, len(chosen) if isinstance(chosen, list) else None)
    return redirect(request, searched.address(project.slug), _("Changed: %(prompts)s.", prompts=count(changed, "prompt")))
