"""Statements that are asked for every verdict: compiled once, and on SQLite asked of the driver itself.

To find a statement's compiled form again, bind its values and make its rows takes SQLAlchemy twice as long as SQLite takes to
answer a read by key. Elsewhere a server's answer takes longer than either, and SQLAlchemy asks as ever.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Dialect, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import UpdateBase

Statement = Select[Any] | CompoundSelect[Any] | UpdateBase
Processor = Callable[[Any], Any]


class Prepared:
    """One such statement, all of whose values are parameters. Its rows have the attributes and values they have elsewhere."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._for_sqlite: _Compiled | None = None

    def first(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """The first row, or none. Raises what SQLAlchemy raises where the database refuses, KeyError for a value that is missing.

        The caller has begun what the statement belongs to.
        """
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._statement, values)
            return result.first() if result.returns_rows else None
        if self._for_sqlite is None:
            self._for_sqlite = _Compiled(self._statement, connection.dialect)
        return self._for_sqlite.first(connection, values)


class _Compiled:
    def __init__(self, statement: Statement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        if compiled.post_compile_params:
            raise ValueError("a list among its values would need another statement for each length")
        if compiled.insert_prefetch or compiled.update_prefetch:
            raise ValueError("a default that Python makes is not asked for: give every column's value")
        self._sql: str = compiled.string
        self._constants: list[Any] = []
        self._given: list[tuple[int, str, Processor]] = []  # the place among the values, the name, how the driver wants it
        for index, name in enumerate(compiled.positiontup):
            parameter = compiled.binds[name]
            processor = parameter.type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is
            self._constants.append(None if parameter.required else processor(parameter.effective_value))
            if parameter.required:
                self._given.append((index, name, processor))
        columns = list(statement.exported_columns)
        make_class: Any = namedtuple  # whose second argument type checkers want to read
        self._row = make_class("Row", [column.key for column in columns])
        found = (column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns)
        self._processors = [(index, processor) for index, processor in enumerate(found) if processor is not None]

    def first(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        bound = self._constants.copy()
        for index, name, processor in self._given:
            bound[index] = processor(values[name])
        failures = connection.dialect.loaded_dbapi.Error
        try:
            with closing(connection.connection.cursor()) as cursor:
                cursor.execute(self._sql, bound)
                found = cursor.fetchone()
        except failures as error:  # never asked again: SQLite may have undone all of the transaction by itself
            raise DBAPIError.instance(self._sql, None, error, failures, dialect=connection.dialect) from error
        if found is None:
            return None
        row = list(found)
        for index, processor in self._processors:
            row[index] = processor(row[index])
        return self._row(*row)


def _as_it_is(value: Any) -> Any:
    return value
