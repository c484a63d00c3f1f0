"""People, what they may, and what shows who they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    String,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)  # stored casefolded
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str | None]
    is_owner: Mapped[bool] = mapped_column(default=False)
    language: Mapped[str | None] = mapped_column(String(20))  # a tag of app.language.languages; None: what the browser asks for
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    disabled_at: Mapped[datetime | None]


class Membership(Base):
    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("user_id", "project_id"), one_of("role", "annotator", "reviewer", "admin"))

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = key("users.id")
    project_id: Mapped[int] = key("projects.id")
    role: Mapped[str] = mapped_column(String(20))
    seen_guideline_version: Mapped[int | None]  # the newest this person was told about; none: they began with the one in force
    practised_at: Mapped[datetime | None]  # real tasks are open from then on, where the project asks for practice
    paused_at: Mapped[datetime | None]  # asked nothing since: too many known answers were missed
    resumed_at: Mapped[datetime | None]  # an admin let them go on; known answers missed before that count no more
    languages: Mapped[list[Any]] = mapped_column(default=list)  # tags of BCP 47 in which they are asked; none said: in all
    skills: Mapped[list[Any]] = mapped_column(default=list)  # without which some prompts are not for them
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SignInSession(Base):
    """A signed-in browser. Only the hash of its 256-bit id is kept."""

    __tablename__ = "sessions"

    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_seen_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    user_agent: Mapped[str] = mapped_column(String(300), default="")
    waits_for_code: Mapped[bool] = mapped_column(default=False, server_default=false())  # right password; nobody is in yet
    device_hash: Mapped[str | None] = mapped_column(String(64), index=True)  # of a cookie that outlives the session


class SecondFactor(Base):
    """What a person's authenticator app holds, too: a secret of which codes are made by the clock (RFC 6238)."""

    __tablename__ = "second_factors"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="RESTRICT"), primary_key=True)
    secret: Mapped[str] = mapped_column(String(64))
    confirmed_at: Mapped[datetime | None]  # none: shown, and no code of it seen yet
    last_step: Mapped[int | None]  # the half minute of the newest code that was used: none is used twice
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class RecoveryCode(Base):
    """Works once in place of a code, for somebody who lost their device."""

    __tablename__ = "recovery_codes"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = key("users.id")
    code_hash: Mapped[str] = mapped_column(String(64))
    used_at: Mapped[datetime | None]


class Installation(Base):
    """What its owners decide for everybody; one row."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    admins_need_second_factor: Mapped[bool] = mapped_column(default=False, server_default=false())


class ApiKey(Base):
    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = key("users.id")  # whom it acts as
    made_by: Mapped[int | None] = key("users.id")  # none: made before this was kept
    parent_id: Mapped[int | None] = key("api_keys.id")  # the key that minted it, which it ends with
    project_ids: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # none: wherever its person may go
    name: Mapped[str] = mapped_column(String(200), default="")
    secret_hash: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Invitation(Base):
    """A single-use link with a fixed role. The owner's first link has role `owner` and no project."""

    __tablename__ = "invitations"
    __table_args__ = (one_of("role", "owner", "annotator", "reviewer", "admin"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(200), default="")  # whom it is meant for, in the words of who made it
    project_id: Mapped[int | None] = key("projects.id")
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[int | None] = key("users.id")
    revoked_at: Mapped[datetime | None]


class PasswordLink(Base):
    """A single-use link by which a person chooses a new password. Only the hash of its token is kept."""

    __tablename__ = "password_links"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = key("users.id")
    created_by: Mapped[int] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Base):
    """Who did what; append-only."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    actor_id: Mapped[int | None] = key("users.id")
    project_id: Mapped[int | None] = key("projects.id")
    action: Mapped[str] = mapped_column(String(100))
    subject: Mapped[str] = mapped_column(String(200), default="", index=True)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
