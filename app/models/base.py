"""What every table shares: the base with its names for constraints, moments in UTC, keys and closed lists of words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    ForeignKey,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeEngine

from trainer.contract.messages import Message, as_text, from_text


def utc_now() -> datetime:
    return datetime.now(UTC)


def last_midnight() -> datetime:
    """Where the server stands."""
    return utc_now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)


class Utc(TypeDecorator[datetime]):
    """Aware UTC in and out; a naive datetime is refused. SQLite stores no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Said(TypeDecorator[Message]):
    """A message as text: its code and arguments; "" is none. Rows of an earlier version hold sentences, which read as written."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok = True

    def process_bind_param(self, value: Message | None, dialect: Dialect) -> str:
        return as_text(value) if value else ""

    def process_result_value(self, value: str | None, dialect: Dialect) -> Message | None:
        return from_text(value) if value else None


class SaidShort(Said):
    """The same in a column of 200 characters."""

    impl = String(200)
    cache_ok = True


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Utc, dict[str, Any]: JSON(none_as_null=True), list[Any]: JSON, str: Text, Message: Said}


def key(target: str, *, index: bool = True) -> Any:
    """A foreign key that refuses to orphan: rows others point to are never deleted."""
    return mapped_column(ForeignKey(target, ondelete="RESTRICT"), index=index)


def one_of(column: str, *values: str) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=f"{column}_known")
