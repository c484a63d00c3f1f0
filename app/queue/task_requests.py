"""What routes of several rooms ask of the queue: a task's id in the path, the length of a lease, the write that claims."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import Path, Request
from sqlalchemy import Connection

from app.assignment.audiences import kept_from
from app.errors import NotAllowed
from app.language.languages import _
from app.models import utc_now
from app.queue import claim
from app.queue.claim import ServedTask
from app.settings import Settings
from app.web.json_types import MAX_ID
from app.web.security import Principal

TaskId = Annotated[int, Path(alias="id", ge=1, le=MAX_ID)]


def claiming(
    request: Request, caller: Principal, project_id: int, besides: frozenset[int] = frozenset()
) -> Callable[[Connection], ServedTask | None]:
    """The write that gives the caller their next task: none of a project that is put away, or where they are paused; of one
    whose hours are used, what they hold already.

    Raises NotAllowed for somebody who has to practise first.
    """
    if caller.archived or caller.paused:
        return _nothing
    require_practised(caller)
    held = partial(
        claim.claim_held if caller.closed else claim.claim_next,
        project_id=project_id,
        annotator_id=caller.user_id,
        now=utc_now(),
        lease=lease_time(request),
        besides=besides,
    )
    return held if caller.closed or not caller.audiences else partial(held, kept=kept_from_caller(caller))


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


def _nothing(connection: Connection) -> None:
    """No task."""


def lease_time(request: Request) -> timedelta:
    settings: Settings = request.app.state.settings
    return timedelta(minutes=settings.lease_minutes)
