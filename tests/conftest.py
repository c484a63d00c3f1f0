"""How the tests run: what takes longest first, so that no process of tests waits for another's in the end; in memory where there
is a folder of it, since a test's database would else wait for the disk at every commit."""

from __future__ import annotations

import gc
import os
import shutil
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
IN_MEMORY: Final = Path("/dev/shm")
ROOM: Final = 4 * 2**30  # bytes; a whole run leaves some hundred MB

if "PYTEST_DEBUG_TEMPROOT" not in os.environ and IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(IN_MEMORY)
gc.disable()  # until all is imported, of which nothing is garbage


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((at for at, place in enumerate(FIRST) if item.path.is_relative_to(place)), len(FIRST)))
