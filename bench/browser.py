"""The Chromium of this machine, as journeys and benches start it."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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


def launch(playwright: Playwright) -> Browser:
    assert CHROMIUM, "no Chromium here; .ci/run installs one"
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
