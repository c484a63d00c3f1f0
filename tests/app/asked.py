"""What is asked of a database meanwhile: through SQLAlchemy, and by prepared statements, which its events do not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Engine, event

from app.database.prepared import Prepared


@contextmanager
def noting(engine: Engine, note: Callable[[str], None]) -> Iterator[None]:
    """`note` is called with every statement once it has been answered, in the thread that asked it."""
    first = Prepared.first

    def prepared(self: Prepared, connection: Connection, values: Mapping[str, Any]) -> Any:
        row = first(self, connection, values)
        if connection.dialect is engine.dialect and connection.dialect.name == "sqlite":
            note(str(self._statement))
        return row

    def executed(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        note(statement)

    event.listen(engine, "after_cursor_execute", executed)
    try:
        with patch.object(Prepared, "first", prepared):
            yield
    finally:
        event.remove(engine, "after_cursor_execute", executed)
