"""A browser in words that its person knows it by, from the long line by which it names itself."""

from __future__ import annotations

import re
from typing import Final

from app.language.languages import _

# Tried in this order: most browsers also claim to be those that follow.
BROWSERS: Final = (
    ("Edge", re.compile(r"\bEdg(?:e|A|iOS)?/")),
    ("Opera", re.compile(r"\b(?:OPR|OPiOS|Opera)/")),
    ("Samsung Internet", re.compile(r"\bSamsungBrowser/")),
    ("Firefox", re.compile(r"\b(?:Firefox|FxiOS)/")),
    ("Chrome", re.compile(r"\b(?:Headless)?(?:Chrome|CriOS|Chromium)/")),
    ("Safari", re.compile(r"\bVersion/\S+ (?:Mobile/\S+ )?Safari/")),
)
SYSTEMS: Final = (
    ("Android", re.compile(r"\bAndroid\b")),
    ("iPhone", re.compile(r"\biPhone\b")),
    ("iPad", re.compile(r"\biPad\b")),
    ("Windows", re.compile(r"\bWindows\b")),
    ("ChromeOS", re.compile(r"\bCrOS\b")),
    ("macOS", re.compile(r"\bMacintosh\b")),
    ("Linux", re.compile(r"\bLinux\b")),
)
LONGEST = 60  # of a name that is none of these


def browser_name(user_agent: str) -> str:
    """Such as "Firefox on Windows"; what is not known, a program say, as it names itself; empty where it does not."""
    browser = next((name for name, sign in BROWSERS if sign.search(user_agent)), "")
    system = next((name for name, sign in SYSTEMS if sign.search(user_agent)), "")
    if not browser:
        return user_agent if len(user_agent) <= LONGEST else user_agent[: LONGEST - 1] + "…"
    return _("%(browser)s on %(system)s", browser=browser, system=system) if system else browser
