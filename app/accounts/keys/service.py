"""API keys: scoped, expiring, shown once. A key acts as its person, so who may make one for whom matters.

A key that another key minted ends with it, and earlier if it says so; it may no more, as only a key that may everything its
person may, and is bound to no project, mints others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from app.accounts.rights import lock_maker, may_act_as, programs_of
from app.accounts.service import get_user
from app.accounts.who_is_out import end_keys
from app.database.audit import record
from app.errors import Conflict, Invalid, NotFound
from app.language.languages import _
from app.models import ApiKey, Membership, Project, User, utc_now
from app.web.security import Principal, Scope, digest, format_key, new_secret

LONGEST_DAYS = 366
MOST_LISTED = 200
MOST_KEYS = 50  # of one person that work at one time
SCOPES: tuple[Scope, ...] = ("annotate", "export", "generate", "admin")


@dataclass(frozen=True)
class ListedKey:
    """A key that works, as lists show it."""

    id: int
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    user_id: int
    user: str
    made_by: str | None  # a name; none: made before this was kept
    parent_id: int | None
    projects: list[str] | None  # slugs; none: wherever its person may go


# Making


def make_key(
    session: Session,
    user_id: int,
    scopes: Sequence[Scope],
    days: int,
    by: Principal,
    name: str = "",
    projects: Sequence[str] | None = None,  # slugs; none: wherever the person may go
) -> tuple[ApiKey, str]:
    """A key for a person, and its secret, which is stored nowhere.

    Everyone may make keys for themselves. Raises NotFound for a person whom the caller may not act as, Conflict where they have
    many already.
    """
    if not scopes:
        raise Invalid(_("Choose at least one thing the key may do."), {"scopes": _("Choose at least one.")})
    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid(
            _("A key lasts 1 to %(most)s days.", most=LONGEST_DAYS),
            {"expires_in_days": _("1 to %(most)s", most=LONGEST_DAYS)},
        )
    parent = lock_maker(session, by)
    user = _whom(session, user_id, by)
    _check_count(session, user.id)
    ends = utc_now() + timedelta(days=days)
    secret = new_secret()
    key = ApiKey(
        user_id=user_id,
        made_by=by.user_id,
        parent_id=parent.id if parent else None,
        project_ids=None if projects is None else _bound_to(session, user, projects),
        name=name.strip()[:200],
        secret_hash=digest(secret),
        scopes=[scope for scope in SCOPES if scope in scopes],
        expires_at=min(ends, parent.expires_at) if parent else ends,
    )
    session.add(key)
    session.flush()
    bound = {} if projects is None else {"projects": list(projects)}
    record(session, by.user_id, "key.made", f"key {key.id}", {"user": user_id, "scopes": key.scopes} | bound)
    return key, format_key(key.id, secret)


def _whom(session: Session, user_id: int, by: Principal) -> User:
    """The person the caller wants to act as. Raises NotFound where they may not."""
    user = session.get(User, user_id)
    if user is None or not may_act_as(session, user, get_user(session, by.user_id)):
        raise NotFound(_("There is no such person, or you may not act as them."))
    return user


def _check_count(session: Session, user_id: int) -> None:
    """Raises Conflict. Of keys made for one person at one moment one may be too many: the bound is no invariant."""
    working = select(func.count()).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None), ApiKey.expires_at > utc_now())
    if (session.scalar(working) or 0) >= MOST_KEYS:
        raise Conflict(_("%(most)s keys work already, and that is the most a person may have. End one first.", most=MOST_KEYS))


def _bound_to(session: Session, user: User, slugs: Sequence[str]) -> list[int]:
    """The ids of these projects of the person. Raises Invalid for none, and for one that is not theirs."""
    if not slugs:
        raise Invalid(_("Choose at least one project, or let the key work in all."), {"projects": _("Choose at least one.")})
    found = {project.slug: project.id for project in session.scalars(projects_for(user))}
    if any(slug not in found for slug in slugs):
        raise Invalid(_("A key can be bound only to projects that its person belongs to."), {"projects": _("not one of theirs")})
    return sorted({found[slug] for slug in slugs})


def projects_for(user: User) -> Select[Project]:
    """The projects a key of this person can be bound to."""
    wanted = select(Project).where(Project.deleted_at.is_(None)).order_by(Project.name, Project.id)
    if user.is_owner:
        return wanted
    return wanted.where(Project.id.in_(select(Membership.project_id).where(Membership.user_id == user.id)))


# Ending


def revoke_key(session: Session, key_id: int, by: Principal) -> None:
    """End a key, and those it minted. Raises NotFound for one of somebody whom the caller may not act as."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound(_("There is no such key."))
    _whom(session, key.user_id, by)
    if key.revoked_at is None:
        end_keys(session, by.user_id, key.user_id, ApiKey.id == key.id)


# Looking


def list_keys(session: Session, by: Principal, whose: Literal["own", "others"] = "own") -> list[ListedKey]:
    """Keys that still work, the newest first: one's own, or those of others that one may end."""
    maker = aliased(User)
    wanted = (
        select(ApiKey, User.name.label("user"), maker.name.label("maker"))
        .join(User, User.id == ApiKey.user_id)
        .outerjoin(maker, maker.id == ApiKey.made_by)
        .where(ApiKey.revoked_at.is_(None), ApiKey.expires_at > utc_now())
        .order_by(ApiKey.id.desc())
        .limit(MOST_LISTED)
    )
    if whose == "own":
        wanted = wanted.where(ApiKey.user_id == by.user_id)
    elif by.is_owner:
        wanted = wanted.where(ApiKey.user_id != by.user_id)
    else:
        wanted = wanted.where(ApiKey.user_id.in_(programs_of(by.user_id)))
    rows = session.execute(wanted).all()
    slugs = _slugs(session, [project_id for row in rows for project_id in row.ApiKey.project_ids or ()])
    return [_listed(row, slugs) for row in rows]


def _listed(row: Any, slugs: dict[int, str]) -> ListedKey:
    key: ApiKey = row.ApiKey
    return ListedKey(
        id=key.id,
        name=key.name,
        scopes=key.scopes,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        user_id=key.user_id,
        user=row.user,
        made_by=row.maker,
        parent_id=key.parent_id,
        projects=None if key.project_ids is None else [slugs[one] for one in key.project_ids if one in slugs],
    )


def _slugs(session: Session, project_ids: Sequence[int]) -> dict[int, str]:
    found = session.execute(select(Project.id, Project.slug).where(Project.id.in_(project_ids), Project.deleted_at.is_(None)))
    return {row.id: row.slug for row in found}
