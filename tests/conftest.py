"""In which order the tests run: what takes longest first, so that no process of tests waits for another's in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
FIRST: Final = (
    TESTS / "journeys",
    TESTS / "trainer" / "worker",
    TESTS / "app" / "test_start.py",
    TESTS / "trainer" / "test_resume.py",
    TESTS / "app" / "serving",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((at for at, place in enumerate(FIRST) if item.path.is_relative_to(place)), len(FIRST)))
