"""One annotator in a real browser: how soon the next pair is on the screen, and how long the server takes for its part.

    python bench/annotator.py [--verdicts 100] [--pause-ms 300]

The next pair counts from the key that saves to the frame after the new pair was drawn. The server's part is what the browser
waits for the first byte: of the call that stores a verdict, and of the one that claims the next task and draws it. The last
line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from app.database.engine import make_engine, write_session
from app.models import SignInSession, User, utc_now
from app.settings import Settings
from app.web.security import digest, new_secret, session_cookie
from bench.browser import STOPWATCH, running_chromium
from bench.stage import SLUG, fill, percentiles_ms, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SERVER_PARTS = """() => performance.getEntriesByType("resource").map((one) => [one.name, one.responseStart - one.requestStart])"""


def sign_in(data: Path) -> str:
    """The cookie of a browser in which the first annotator is signed in."""
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    secret = new_secret()
    with write_session(engine) as session:
        user_id = session.scalars(select(User.id)).first()
        session.add(SignInSession(id_hash=digest(secret), user_id=user_id or 0, expires_at=utc_now() + timedelta(days=1)))
    engine.dispose()
    return secret


def judge(page: Page, verdicts: int, pause_ms: float) -> dict[str, Any]:
    """Presses a verdict and Enter so many times; a person who reads for `pause_ms`."""
    page.evaluate("performance.setResourceTimingBufferSize(10000)")
    page.evaluate(STOPWATCH)
    for number in range(verdicts):
        page.wait_for_timeout(pause_ms)
        page.keyboard.press("1" if page.locator("form.task[data-kind=comparison]").count() else "3")
        page.keyboard.press("Enter")
        while page.evaluate("window.laps.length") <= number:
            page.wait_for_timeout(5)
    parts = page.evaluate(SERVER_PARTS)
    return {
        **percentiles_ms([lap / 1000 for lap in page.evaluate("window.laps")], "next_pair_"),
        **percentiles_ms([part / 1000 for url, part in parts if url.endswith("/label")], "server_label_"),
        **percentiles_ms([part / 1000 for url, part in parts if url.endswith("/annotate/next")], "server_next_"),
    }


def measured(browser: Browser, url: str, secret: str, verdicts: int, pause_ms: float) -> dict[str, Any]:
    context = browser.new_context(base_url=url)
    context.add_cookies([{"name": session_cookie(Settings()), "value": secret, "url": url}])
    page = context.new_page()
    page.goto(f"/projects/{SLUG}/annotate")
    page.wait_for_load_state("networkidle")
    return judge(page, verdicts, pause_ms)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--verdicts", type=int, default=100)
    options.add_argument("--pause-ms", type=float, default=300.0, help="how long each pair is looked at")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder, running_chromium() as browser:
        data = Path(folder)
        fill(data, tasks=chosen.verdicts + 50, annotators=1)
        with serving(data) as server:
            found = measured(browser, server.url, sign_in(data), chosen.verdicts, chosen.pause_ms)
    print(json.dumps({"bench": "annotator", "verdicts": chosen.verdicts, "load": round(os.getloadavg()[0], 1), **found}))


if __name__ == "__main__":
    main()
