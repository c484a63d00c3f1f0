"""Whether the file that SQLite has open is still the one that stands at its place.

A folder that is deleted or moved under a running process takes nothing from SQLite: it goes on in a file that nobody finds again,
and every verdict stored there is lost. Whatever opens the file or begins to write asks here first.
"""

from __future__ import annotations

import os
from typing import Any

from app.database.failures import GONE
from app.errors import Unavailable


class SameFile:
    """The file that an engine opened first."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None  # device and number

    def require(self) -> None:
        """Raises Unavailable where another file, or none, stands at the place by now."""
        if self._opened is not None and self._there() != self._opened:
            raise Unavailable(GONE)

    def before_connect(self, *given: Any) -> None:
        """SQLite would make a new file where there is none."""
        self.require()

    def after_connect(self, *given: Any) -> None:
        if self._opened is None:
            self._opened = self._there()

    def _there(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino
