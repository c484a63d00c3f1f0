"""The bridge and the supervisor stand between both worlds, so their tests use the web side's database and cast."""

from collections.abc import Iterator

import pytest
import torch

from tests.app.conftest import app, cast, empty_database, engine, settings

__all__ = ["app", "cast", "empty_database", "engine", "settings"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models are quicker on one core, and a neighbour on the other disturbs nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
