"""API keys: scoped, expiring, shown once. A key acts as its person, so who may make one for whom matters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.accounts.people import administered_by
from app.database.audit import record
from app.errors import Invalid, NotFound
from app.language.languages import _
from app.models import ApiKey, Membership, User, utc_now
from app.web.security import Principal, Scope, digest, format_key, new_secret

LONGEST_DAYS = 366
SCOPES: tuple[Scope, ...] = ("annotate", "export", "admin")


def make_key(
    session: Session, user_id: int, scopes: Sequence[Scope], days: int, by: Principal, name: str = ""
) -> tuple[ApiKey, str]:
    """A key for a person, and its secret, which is stored nowhere.

    Everyone may make keys for themselves. Raises NotFound for a person whom the caller may not act as.
    """
    if not scopes:
        raise Invalid(_("Choose at least one thing the key may do."), {"scopes": _("Choose at least one.")})
    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid(
            _("A key lasts 1 to %(most)s days.", most=LONGEST_DAYS),
            {"expires_in_days": _("1 to %(most)s", most=LONGEST_DAYS)},
        )
    _check_may_act_as(session, user_id, by)
    secret = new_secret()
    key = ApiKey(
        user_id=user_id,
        name=name.strip()[:200],
        secret_hash=digest(secret),
        scopes=[scope for scope in SCOPES if scope in scopes],
        expires_at=utc_now() + timedelta(days=days),
    )
    session.add(key)
    session.flush()
    record(session, by.user_id, "key.made", f"key {key.id}", {"user": user_id, "scopes": key.scopes})
    return key, format_key(key.id, secret)


def revoke_key(session: Session, key_id: int, by: Principal) -> None:
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound(_("There is no such key."))
    _check_may_act_as(session, key.user_id, by)
    if key.revoked_at is None:
        key.revoked_at = utc_now()
        record(session, by.user_id, "key.revoked", f"key {key.id}", {"user": key.user_id})


def keys_of(session: Session, user_id: int) -> Sequence[ApiKey]:
    """The keys that still work, the newest first."""
    return session.scalars(
        select(ApiKey)
        .where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None), ApiKey.expires_at > utc_now())
        .order_by(ApiKey.id.desc())
        .limit(200)
    ).all()


def _check_may_act_as(session: Session, user_id: int, by: Principal) -> None:
    """Oneself; for the owner anyone; for an admin only people made for programs (without a password) in none but their own
    projects. Otherwise an admin of one project could act in another one as somebody else.
    """
    user = session.get(User, user_id)
    if user is not None and (user_id == by.user_id or by.is_owner or _is_program_of(session, user, by)):
        return
    raise NotFound(_("There is no such person, or you may not act as them."))


def _is_program_of(session: Session, user: User, by: Principal) -> bool:
    if user.is_owner or user.password_hash is not None:
        return False
    elsewhere, here = session.execute(
        select(
            exists().where(Membership.user_id == user.id, Membership.project_id.not_in(administered_by(by.user_id))),
            exists().where(Membership.user_id == user.id),
        )
    ).one()
    return bool(here and not elsewhere)
