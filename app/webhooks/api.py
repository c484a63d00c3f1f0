"""Webhooks over the API, and what was announced of a project."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from app.database.engine import Db, WriteDb
from app.web.gate import CurrentProjectId
from app.web.json_types import MAX_ID, Body, CodedMessage, Limit, Page, Reply, Told, coded, cursor_id
from app.web.security import Caller
from app.webhooks import announcing, service
from app.webhooks.addresses import MOST_CHARACTERS

router = APIRouter(tags=["webhooks"])

Id = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]
Cursor = Annotated[str | None, Query(max_length=40)]
_NONE: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No such webhook"}}


class NewWebhook(Body):
    address: Annotated[str, Field(max_length=MOST_CHARACTERS, description="Where announcements are posted to.")]


class WebhookReply(Reply):
    id: int
    address: str
    created_at: datetime
    former_until: datetime | None = Field(description="Until when the secret before this one signs as well.")


class SecretReply(Reply):
    id: int
    address: str
    secret: str = Field(description="`whsec_...`, by which a receiver verifies what it is sent; in this reply only")


class DeliveryReply(Reply):
    id: int
    webhook_id: int
    address: str
    event: str
    name: str = Field(description="The `webhook-id` of every try: what a receiver knows a repetition by.")
    state: Literal["waiting", "delivered", "given_up", "dropped"]
    tries: int
    tried_at: datetime | None
    due_at: datetime = Field(description="While it waits: the next try.")
    status: int | None = Field(description="What the last try was answered.")
    trouble: Told = Field(description="Why the last try came to nothing.")
    coded_trouble: CodedMessage | None = coded("trouble")


class AnnouncementReply(Reply):
    id: int
    event: str
    round_id: int | None
    message: Told
    coded_message: CodedMessage | None = coded("message")
    data: dict[str, Any]
    created_at: datetime


@router.get("/webhooks", summary="The addresses that are told of decisions, alarms and stops")
def list_webhooks(session: Db) -> list[WebhookReply]:
    return [WebhookReply.model_validate(webhook) for webhook in service.list_webhooks(session)]


@router.post("/webhooks", status_code=201, summary="Register an address")
def register(session: WriteDb, caller: Caller, body: NewWebhook) -> SecretReply:
    """What it is sent is signed as standardwebhooks.com describes, and tried again for three days."""
    return SecretReply.model_validate(service.register(session, body.address, caller.user_id))


@router.get("/webhooks/deliveries", summary="What was sent and what waits, the newest first")
def list_deliveries(session: Db, limit: Annotated[Limit, Query()] = 50, cursor: Cursor = None) -> Page[DeliveryReply]:
    found = service.log(session, cursor_id(cursor), limit + 1)
    replies = [_delivery_reply(one) for one in found[:limit]]
    return Page(items=replies, next_cursor=str(replies[-1].id) if len(found) > limit else None)


@router.delete("/webhooks/{id}", status_code=204, responses=_NONE, summary="Send nothing there any more")
def remove(session: WriteDb, caller: Caller, webhook_id: Id) -> Response:
    service.remove(session, service.get_webhook(session, webhook_id), caller.user_id)
    return Response(status_code=204)


@router.post("/webhooks/{id}/secret", responses=_NONE, summary="Another secret; the one before signs as well for a day")
def renew_secret(session: WriteDb, caller: Caller, webhook_id: Id) -> SecretReply:
    webhook = service.get_webhook(session, webhook_id)
    service.renew_secret(session, webhook, caller.user_id)
    return SecretReply.model_validate(webhook)


@router.post("/webhooks/{id}/test", status_code=202, responses=_NONE, summary="Have a worker send a test there")
def send_test(session: WriteDb, webhook_id: Id) -> DeliveryReply:
    webhook = service.get_webhook(session, webhook_id)
    return _delivery_reply(service.send_test(session, webhook))


@router.get("/projects/{slug}/announcements", summary="Decisions, alarms and stops of a project, the newest first")
def list_announcements(
    session: Db, project_id: CurrentProjectId, limit: Annotated[Limit, Query()] = 50, cursor: Cursor = None
) -> Page[AnnouncementReply]:
    found = announcing.latest(session, project_id, limit + 1, before=cursor_id(cursor))
    replies = [AnnouncementReply.model_validate(one) for one in found[:limit]]
    return Page(items=replies, next_cursor=str(replies[-1].id) if len(found) > limit else None)


def _delivery_reply(sent: service.Sent) -> DeliveryReply:
    names = ("id", "webhook_id", "state", "tries", "tried_at", "due_at", "status", "trouble")
    values = {name: getattr(sent.delivery, name) for name in names}
    return DeliveryReply(
        **values,
        coded_trouble=sent.delivery.trouble,
        address=sent.webhook.address,
        event=sent.announcement.event,
        name=sent.announcement.name,
    )
