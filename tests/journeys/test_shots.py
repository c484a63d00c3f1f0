"""Pictures of every page for docs/ui: `pytest -m shots tests/journeys/test_shots.py`. They are looked at, not compared."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Page
from sqlalchemy import Engine

from app.database.engine import write_session
from app.settings import Settings
from tests.app.conftest import Cast
from tests.app.tour import PAGES, furnish

pytestmark = pytest.mark.shots

Open = Callable[..., Page]
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "ui"
LANGUAGES = {"en": "en-GB", "zh-Hant": "zh-TW"}
WIDTHS = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 360, "height": 740}}
LARGEST = 60_000  # bytes of a picture


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("language", "width"), list(product(LANGUAGES, WIDTHS)))
def test_every_page_has_its_picture(
    open_as: Open, engine: Engine, cast: Cast, settings: Settings, language: str, width: str
) -> None:
    with write_session(engine) as session:
        ids = furnish(session, cast, settings)
    for scheme in ("light", "dark"):
        page = open_as("Ada", color_scheme=scheme, locale=LANGUAGES[language], viewport=WIDTHS[width])
        folder = FOLDER / language / f"{width}-{scheme}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in _named(PAGES):
            page.goto(path.format(**ids))
            page.wait_for_load_state("networkidle")
            (folder / f"{name}.webp").write_bytes(shot(page))
        page.context.close()


def shot(page: Page) -> bytes:
    """What the screen shows, as WebP, at the best quality that stays small."""
    session = page.context.new_cdp_session(page)
    for quality in (70, 45, 25, 10):
        picture = base64.b64decode(session.send("Page.captureScreenshot", {"format": "webp", "quality": quality})["data"])
        if len(picture) < LARGEST:
            break
    return picture


def _named(paths: Iterable[str]) -> Iterable[tuple[str, str]]:
    """The name of each page's picture, from its address."""
    for path in paths:
        words = path.replace("/projects/demo", "/project").strip("/").translate(str.maketrans("/?=", "---", "{}"))
        yield words or "start", path
