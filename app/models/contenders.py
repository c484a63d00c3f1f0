"""Contenders: sources of answers that people compare, be it a policy of ours, alone or best of n, or a model of others."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now

_POLICY, _BEST_OF = text("kind = 'policy'"), text("kind = 'best_of'")
_NAMED = text("kind IN ('outside', 'imported')")


class Contender(Base):
    """`policy`: a checkpoint that is asked once. `best_of`: of n such answers the one that a reward model scores highest.
    `outside`: a model behind an address that the owner named. `imported`: answers that were written elsewhere.

    Ours are called by their checkpoint, the others by their own name.
    """

    __tablename__ = "contenders"
    __table_args__ = (
        one_of("kind", "policy", "best_of", "outside", "imported"),
        CheckConstraint("(kind IN ('policy', 'best_of')) = (checkpoint_id IS NOT NULL)", name="ours_have_checkpoints"),
        CheckConstraint("(kind IN ('outside', 'imported')) = (name IS NOT NULL)", name="others_have_names"),
        CheckConstraint("(kind = 'best_of') = (reward_id IS NOT NULL)", name="choosing_needs_a_reward"),
        CheckConstraint("(kind = 'best_of') = (best_of > 1) AND best_of >= 1", name="choosing_needs_several"),
        CheckConstraint("(kind = 'outside') = (address IS NOT NULL)", name="outside_has_an_address"),
        CheckConstraint("(kind = 'outside') = (model IS NOT NULL)", name="outside_has_a_model"),
        CheckConstraint("kind = 'outside' OR key_variable IS NULL", name="keys_are_for_outside"),
        Index("uq_contenders_policy", "checkpoint_id", unique=True, postgresql_where=_POLICY, sqlite_where=_POLICY),
        Index(
            "uq_contenders_best_of",
            *("checkpoint_id", "best_of", "reward_id"),
            unique=True,
            postgresql_where=_BEST_OF,
            sqlite_where=_BEST_OF,
        ),
        Index("uq_contenders_name", "project_id", "name", unique=True, postgresql_where=_NAMED, sqlite_where=_NAMED),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = key("projects.id")
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str | None] = mapped_column(String(200))
    checkpoint_id: Mapped[int | None] = key("checkpoints.id")
    best_of: Mapped[int] = mapped_column(default=1)
    reward_id: Mapped[int | None] = key("checkpoints.id")
    address: Mapped[str | None]
    model: Mapped[str | None] = mapped_column(String(200))  # as it is asked for at that address
    key_variable: Mapped[str | None] = mapped_column(String(100))  # the variable of the environment that holds the key
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]
