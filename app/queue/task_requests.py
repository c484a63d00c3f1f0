"""What routes of several rooms ask of the queue: a task's id in the path, the length of a lease, a person's next task."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import Path, Request
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from app.assignment.audiences import kept_from
from app.database.engine import get_engine, read_session, reads_are_instant
from app.database.group_commit import write_group
from app.errors import NotAllowed
from app.language.languages import _
from app.models import utc_now
from app.queue import claim
from app.queue.claim import ServedTask
from app.settings import Settings
from app.web.json_types import MAX_ID
from app.web.security import Principal

TaskId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


async def claimed(
    request: Request, caller: Principal, project_id: int, besides: frozenset[int] = frozenset()
) -> ServedTask | None:
    """The caller's next task: none of a project that is put away, or where they are paused; of one whose hours are used, what
    they hold already. Raises NotAllowed for somebody who has to practise first.

    Whom some prompts are kept from may have to look at every open seat. Where one write waits for the other, they look before
    theirs begins, and again where somebody else was quicker.
    """
    if caller.archived or caller.paused:
        return None
    require_practised(caller)
    group, engine = write_group(request), get_engine(request)
    mine: dict[str, Any] = {"project_id": project_id, "annotator_id": caller.user_id, "now": utc_now(), "besides": besides}
    lease = lease_time(request)
    if caller.closed:
        return await group.run(partial(claim.claim_held, lease=lease, **mine))
    kept = kept_from_caller(caller)
    if not kept or not reads_are_instant(engine):
        return await group.run(partial(claim.claim_next, lease=lease, kept=kept, **mine))
    while (place := await run_in_threadpool(_place, engine, kept=kept, **mine)) is not None:
        task = await group.run(partial(claim.claim_next, lease=lease, kept=kept, place=place, **mine))
        if task is not None:
            return task
    return None


def _place(engine: Engine, **whose: Any) -> int | None:
    with read_session(engine) as session:
        return claim.open_place(session.connection(), **whose)


def kept_from_caller(caller: Principal) -> str:
    """The audiences of the project's prompts to which they do not belong."""
    return kept_from(caller.audiences, caller.languages, caller.skills)


def require_asked(caller: Principal) -> None:
    """Raises NotAllowed for somebody who is asked nothing new: who is paused, has to practise first, or comes after hours."""
    if caller.paused:
        raise NotAllowed(
            _(
                "Some of your answers differ from ones that were agreed on. That happens when guidelines are unclear, or after a "
                "long day. Everything you did is kept; an admin has been told and will talk to you."
            )
        )
    require_practised(caller)
    if caller.closed:
        raise NotAllowed(
            _("The hours planned for this month are worked. Thank you: everything you did is kept, and it goes on next month.")
        )


def require_practised(caller: Principal) -> None:
    if caller.practice_due:
        raise NotAllowed(_("Real tasks open after the practice of this project. It takes a few minutes; start it first."))


def lease_time(request: Request) -> timedelta:
    settings: Settings = request.app.state.settings
    return timedelta(minutes=settings.lease_minutes)
