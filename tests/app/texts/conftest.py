"""Each test has a page of its own: what an earlier one took of a page's time is not what a later one has left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.texts import safe_html


@pytest.fixture(autouse=True)
def no_page() -> Iterator[None]:
    before = safe_html._page.set(None)
    yield
    safe_html._page.reset(before)
