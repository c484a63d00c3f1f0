"""What is announced of projects, and the addresses outside that are told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now
from trainer.contract.messages import Message


class Announcement(Base):
    """A decision, an alarm, or a stop, written in the transaction that does it; of no project where it is a test."""

    __tablename__ = "announcements"
    __table_args__ = (Index("ix_announcements_project_id", "project_id", "id"), UniqueConstraint("name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))  # "evt_...": by which a receiver knows what it was told already
    project_id: Mapped[int | None] = key("projects.id", index=False)
    round_id: Mapped[int | None] = key("rounds.id")
    event: Mapped[str] = mapped_column(String(40))  # "round.decided": app.webhooks.announcing
    message: Mapped[Message]
    data: Mapped[dict[str, Any]]  # for programs; names and numbers, no text of people or models but an admin's reason
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


_IN_FORCE = text("removed_at IS NULL")


class Webhook(Base):
    """An address that the installation's owner registered. One that was removed stays, for the log; nothing is sent to it."""

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_in_force", "address", unique=True, postgresql_where=_IN_FORCE, sqlite_where=_IN_FORCE),)

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(String(500))
    secret: Mapped[str] = mapped_column(String(100))  # "whsec_...": what is sent is signed with it, so it cannot be a digest
    former_secrets: Mapped[list[Any]] = mapped_column(default=list)  # [secret, until when it signs as well], the newest last
    former_until: Mapped[datetime | None]  # until when the newest of them does
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    removed_at: Mapped[datetime | None]

    def still_signing(self, now: datetime) -> list[Any]:
        """The former secrets that do, each with its end."""
        return [[secret, until] for secret, until in self.former_secrets if datetime.fromisoformat(until) > now]


_WAITING = text("state = 'waiting'")


class Delivery(Base):
    """The outbox: one announcement for one address. `waiting` until it was taken, given up, or its address removed."""

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("state", "waiting", "delivered", "given_up", "dropped"),
        UniqueConstraint("webhook_id", "announcement_id"),
        Index("ix_deliveries_due", "due_at", postgresql_where=_WAITING, sqlite_where=_WAITING),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = key("webhooks.id", index=False)
    announcement_id: Mapped[int] = key("announcements.id")
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    due_at: Mapped[datetime] = mapped_column(default=utc_now)  # the next try; while one is made: when another worker may
    tries: Mapped[int] = mapped_column(default=0)
    tried_at: Mapped[datetime | None]
    status: Mapped[int | None]  # what the last try was answered
    trouble: Mapped[Message | None] = mapped_column(nullable=False)  # why the last try came to nothing
