"""Who asks: one statement from what a request shows (a session, a key) to its person and their role where it leads."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, exists, null, or_, select

from app.database.prepared import Prepared
from app.models import (
    ApiKey,
    Chat,
    Checkpoint,
    Evaluation,
    Generation,
    Installation,
    Label,
    Membership,
    PracticeTask,
    Project,
    Prompt,
    Round,
    Run,
    SecondFactor,
    SignInSession,
    Task,
    User,
    utc_now,
)
from app.web.permissions import Source
from app.web.security import SEEN_EVERY_S, Principal


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request shows for itself: a session id's hash, or a key's id and secret hash."""

    via: Literal["session", "key"]
    id: str | int
    secret_hash: str


@dataclass(frozen=True, slots=True)
class Finding:
    principal: Principal | None
    project_id: int | None
    is_admin_somewhere: bool
    stale: bool  # the credential's last use was noted more than a minute ago


def finding_of(row: Any, credential: Credential) -> Finding:
    now = utc_now()
    if row is None or row.revoked_at is not None or row.disabled_at is not None or row.expires_at <= now or row.waits_for_code:
        return Finding(None, None, False, False)
    if credential.via == "key" and not hmac.compare_digest(row.secret_hash, credential.secret_hash):
        return Finding(None, None, False, False)
    principal = Principal(
        user_id=row.user_id,
        name=row.name,
        email=row.email,
        is_owner=row.is_owner,
        via=credential.via,
        scopes=frozenset(row.scopes or ()),
        project_ids=None if row.project_ids is None else frozenset(row.project_ids),
        role=row.role,
        archived=row.archived_at is not None,
        practice_due=bool(row.practice_due),
        paused=row.paused_at is not None,
        closed=row.closed_until is not None and row.closed_until > now,
        audiences=tuple(row.audiences or ()),
        languages=tuple(row.languages or ()),
        skills=tuple(row.skills or ()),
        language=row.language if credential.via == "session" else None,
        credential=str(credential.id),
        second_factor_due=bool(row.second_factor_due),
    )
    stale = row.used_at is None or now - row.used_at > timedelta(seconds=SEEN_EVERY_S)
    return Finding(principal, row.project_id, bool(row.is_admin_somewhere), stale)


@lru_cache(maxsize=32)
def statement_for(via: Literal["session", "key"], source: Source | None) -> Prepared:
    """Credential -> person -> project of the path -> role there, as one statement with parameters `credential`, `subject`."""
    credential: Any = SignInSession if via == "session" else ApiKey
    shown = credential.id_hash if via == "session" else credential.id
    used_at = credential.last_seen_at if via == "session" else credential.last_used_at
    statement = (
        select(
            User.id.label("user_id"),
            User.name,
            User.email,
            User.is_owner,
            User.language,
            User.disabled_at,
            credential.expires_at,
            credential.revoked_at,
            used_at.label("used_at"),
            (null() if via == "session" else ApiKey.scopes).label("scopes"),
            (null() if via == "session" else ApiKey.secret_hash).label("secret_hash"),
            (null() if via == "session" else ApiKey.project_ids).label("project_ids"),
            *_second_factor(via),
        )
        .select_from(credential)
        .join(User, User.id == credential.user_id)
        .where(shown == bindparam("credential"))
    )
    if source is None:
        is_admin_somewhere = exists().where(Membership.user_id == User.id, Membership.role == "admin")
        return Prepared(
            statement.add_columns(
                is_admin_somewhere.label("is_admin_somewhere"),
                *(null().label(name) for name in ("project_id", "archived_at", "closed_until", "audiences")),
                *(null().label(name) for name in ("role", "practice_due", "paused_at", "languages", "skills")),
            )
        )
    return Prepared(
        _to_project(statement, source).add_columns(
            null().label("is_admin_somewhere"),  # asked of addresses outside of any project alone
            Project.id.label("project_id"),
            Project.archived_at,
            Project.closed_until,
            Project.audiences,
            Membership.role,
            Membership.paused_at,
            Membership.languages,
            Membership.skills,
            _practice_due().label("practice_due"),
        )
    )


def _second_factor(via: Literal["session", "key"]) -> tuple[Any, ...]:
    """Of people alone: a key was made by somebody who had shown all they have. Where admins need none, one row tells."""
    if via == "key":
        return tuple(null().label(name) for name in ("waits_for_code", "second_factor_due"))
    asked = exists().where(Installation.admins_need_second_factor)
    somewhere = exists().where(Membership.user_id == User.id, Membership.role == "admin").correlate(User)  # not here alone
    is_admin = or_(User.is_owner, somewhere)
    has_one = exists().where(SecondFactor.user_id == User.id, SecondFactor.confirmed_at.is_not(None))
    return SignInSession.waits_for_code, and_(asked, is_admin, ~has_one).label("second_factor_due")


def _practice_due() -> ColumnElement[bool]:
    """Whether this annotator is to practise before real tasks."""
    new_here = and_(Membership.role == "annotator", Membership.practised_at.is_(None), Project.practice_tasks > 0)
    return and_(new_here, exists().where(PracticeTask.project_id == Project.id, PracticeTask.archived_at.is_(None)))


def _to_project(statement: Select[Any], source: Source) -> Select[Any]:
    """With the project that the path's subject belongs to and the person's place in it, each looked up once by its key.

    NULL where there is no such thing, or its project is deleted.
    """
    subject: BindParameter[Any] = bindparam("subject")
    there = Project.deleted_at.is_(None)
    if source == "slug":
        statement = statement.outerjoin(Project, and_(Project.slug == subject, there))
    else:
        holder = _HOLDERS[source]
        statement = statement.outerjoin(holder, holder.id == subject)
        if source == "generation":
            statement, holder = statement.outerjoin(Prompt, Prompt.id == Generation.prompt_id), Prompt
        statement = statement.outerjoin(Project, and_(Project.id == holder.project_id, there))
    return statement.outerjoin(Membership, and_(Membership.project_id == Project.id, Membership.user_id == User.id))


_HOLDERS: Final[Mapping[Source, Any]] = {
    "task": Task,
    "label": Label,
    "run": Run,
    "round": Round,
    "evaluation": Evaluation,
    "checkpoint": Checkpoint,
    "prompt": Prompt,
    "generation": Generation,
    "chat": Chat,
}
