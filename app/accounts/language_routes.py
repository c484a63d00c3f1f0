"""The language switch: for this browser, and for the person where somebody is signed in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.accounts import service
from app.accounts.forms import LanguageForm
from app.database.engine import get_engine, write_turn
from app.errors import Invalid
from app.language.languages import COOKIE, LANGUAGES, _
from app.settings import Settings
from app.web.pages import local, redirect
from app.web.security import current_principal

router = APIRouter()

YEAR_S = 365 * 24 * 3600


@router.post("/language")
async def choose_language(request: Request, form: Annotated[LanguageForm, Form()], next: str = "/") -> Response:
    """The cookie goes on speaking it after signing out. For whoever is not signed in nothing is written."""
    if form.language not in LANGUAGES:
        raise Invalid(_("Tastemaker does not speak that language yet."), {"language": _("not one of ours")})
    principal = current_principal(request)
    if principal is not None:
        async with write_turn(get_engine(request)) as session:
            await run_in_threadpool(service.set_language, session, principal.user_id, form.language)
    settings: Settings = request.app.state.settings
    response = redirect(request, local(next))
    response.set_cookie(
        COOKIE, form.language, max_age=YEAR_S, path="/", secure=settings.secure_cookies, httponly=True, samesite="lax"
    )
    return response
