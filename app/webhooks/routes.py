"""Pages: the addresses that are told, for the owner: registering, trying out, another secret, removing; and what was sent."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.errors import Refusal
from app.language.languages import _
from app.models import utc_now
from app.web.json_types import MAX_ID
from app.web.pages import redirect, render
from app.web.security import Caller
from app.webhooks import service
from app.webhooks.addresses import MOST_CHARACTERS

router = APIRouter()

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
PAGE = 25


@router.get("/webhooks")
def webhooks_page(request: Request, session: Db, before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None) -> Response:
    return _page(request, session, before=before)


@router.post("/webhooks")
def register(
    request: Request, session: WriteDb, caller: Caller, address: Annotated[str, Form(max_length=MOST_CHARACTERS)] = ""
) -> Response:
    try:
        webhook = service.register(session, address, caller.user_id)
    except Refusal as refusal:
        return _page(request, session, address=address, refusal=refusal)
    return _page(request, session, shown=(webhook.address, webhook.secret))


@router.post("/webhooks/{id}/secret")
def renew_secret(request: Request, session: WriteDb, caller: Caller, webhook_id: Id) -> Response:
    webhook = service.get_webhook(session, webhook_id)
    return _page(request, session, shown=(webhook.address, service.renew_secret(session, webhook, caller.user_id)))


@router.post("/webhooks/{id}/test")
def send_test(request: Request, session: WriteDb, webhook_id: Id) -> Response:
    service.send_test(session, service.get_webhook(session, webhook_id))
    return redirect(request, "/webhooks", _("A worker sends it in a moment; below stands how it went."))


@router.post("/webhooks/{id}/removal")
def remove(request: Request, session: WriteDb, caller: Caller, webhook_id: Id) -> Response:
    service.remove(session, service.get_webhook(session, webhook_id), caller.user_id)
    return redirect(request, "/webhooks", _("It is removed. Nothing is sent there any more."))


def _page(
    request: Request,
    session: Session,
    *,
    before: int | None = None,
    address: str = "",
    shown: tuple[str, str] | None = None,
    refusal: Refusal | None = None,
) -> Response:
    found = service.log(session, before, PAGE + 1)
    return render(
        request,
        "webhooks/webhooks.html",
        status=refusal.status if refusal else 201 if shown else 200,
        now=utc_now(),
        webhooks=service.list_webhooks(session),
        log=found[:PAGE],
        before=before,
        next_before=found[PAGE - 1].delivery.id if len(found) > PAGE else None,
        address=address,
        shown=shown,
        problem=refusal.detail if refusal else "",
        errors=getattr(refusal, "fields", {}),
    )
