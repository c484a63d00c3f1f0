"""Contenders: sources of answers that people compare, be it a policy of ours, alone or best of n, or a model of others; and the
models outside that the installation's owner registered."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, key, one_of, utc_now

_POLICY, _BEST_OF = text("kind = 'policy'"), text("kind = 'best_of'")
_NAMED = text("kind IN ('outside', 'imported')")
_IN_USE = text("archived_at IS NULL")


class OutsideModel(Base):
    """A model behind an OpenAI-compatible address that the owner registered, for every project. It never changes: what was
    answered would else be another's. The key itself is in the environment alone.
    """

    __tablename__ = "outside_models"
    __table_args__ = (
        CheckConstraint("(prompt_price IS NULL) = (answer_price IS NULL)", name="prices_are_two"),
        Index("uq_outside_models_name", "name", unique=True, postgresql_where=_IN_USE, sqlite_where=_IN_USE),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(500))  # as clients call it: "/chat/completions" comes behind it
    model: Mapped[str] = mapped_column(String(200))  # as it is asked for at that address
    key_variable: Mapped[str | None] = mapped_column(String(100))  # the variable of the environment that holds the key
    own_network: Mapped[bool]  # the owner said that the address lies in their own network
    prompt_price: Mapped[float | None]  # US dollars for a million tokens that are read, and that are written
    answer_price: Mapped[float | None]
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]  # it is asked no more


class Contender(Base):
    """`policy`: a checkpoint that is asked once. `best_of`: of n such answers the one that a reward model scores highest.
    `outside`: a model that the owner registered. `imported`: answers that were written elsewhere.

    Ours are called by their checkpoint, the others by their own name.
    """

    __tablename__ = "contenders"
    __table_args__ = (
        one_of("kind", "policy", "best_of", "outside", "imported"),
        CheckConstraint("(kind IN ('policy', 'best_of')) = (checkpoint_id IS NOT NULL)", name="ours_have_checkpoints"),
        CheckConstraint("(kind IN ('outside', 'imported')) = (name IS NOT NULL)", name="others_have_names"),
        CheckConstraint("(kind = 'best_of') = (reward_id IS NOT NULL)", name="choosing_needs_a_reward"),
        CheckConstraint("(kind = 'best_of') = (best_of > 1) AND best_of >= 1", name="choosing_needs_several"),
        CheckConstraint("(kind = 'outside') = (outside_id IS NOT NULL)", name="outside_is_registered"),
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
    outside_id: Mapped[int | None] = key("outside_models.id")
    created_by: Mapped[int | None] = key("users.id")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    archived_at: Mapped[datetime | None]  # an admin put it away: it is asked nothing, and stands in no further evaluation
