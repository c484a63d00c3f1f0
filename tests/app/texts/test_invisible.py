from __future__ import annotations

import pytest

from app.texts.invisible import has_invisible, shows_nothing

UNSEEN = [
    "\u200b",
    "\u00ad",
    "\ufeff",
    "\u2060",
    "\u202e",
    "\u034f",
    "\u3164",
    "\u115f",
    "\ufe0f",
    "\U000e0101",
    "\u2800",
    "\u00a0",
    "\u2028",
    "\x07",
]


@pytest.mark.parametrize("character", UNSEEN, ids=lambda one: f"U+{ord(one):04X}")
def test_what_nobody_sees_is_found(character: str) -> None:
    assert has_invisible(f"ma{character}ry")
    assert shows_nothing(character * 3)


@pytest.mark.parametrize("text", ["mary", "Zoë", "Σωκράτης", "王小明", "नीरज", "محمد", "👩", "o'neil-3"])
def test_what_people_write_is_not(text: str) -> None:
    assert not has_invisible(text)
    assert not shows_nothing(text)
