"""The Chromium of this machine, as journeys and benches start it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")  # bin/programs looks for these and installs the first
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Leaves in window.laps, for each key that saved, the milliseconds until the next pair was painted.
STOPWATCH = """() => {
  window.laps = [];
  let began = null;
  document.addEventListener("keydown", (event) => { if (event.key === "Enter") began = performance.now(); }, { capture: true });
  const stop = () => { window.laps.push(performance.now() - began); began = null; };
  const painted = () => requestAnimationFrame(() => setTimeout(stop));
  new MutationObserver(() => { if (began !== null && document.querySelector("#desk form.task")) painted(); })
    .observe(document.getElementById("desk"), { childList: true });
}"""


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Closed at the end of the block."""
    assert CHROMIUM, "no Chromium here; `bin/programs` installs one or says how"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
