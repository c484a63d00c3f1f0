"""Page `/styleguide`: the design as it is, every token and every component in every state, from the real sheets and macros.

Tokens are read out of tokens.css, so the page cannot tell of a colour that is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models import utc_now
from app.models.criteria import default_flags
from app.texts.diff import changed_lines
from app.web.pages import STATIC, render

router = APIRouter()

REM_PX: Final = 16
SAMPLE: Final = ("Prefer the true answer.\nShort is fine.", "Prefer the kind, true answer.\nShort is fine.\nSay so when unsure.")
_DECLARATION: Final = re.compile(r"^  --([a-z0-9-]+):\s*([^;]+);", re.M | re.S)
_TWO: Final = re.compile(r"light-dark\((.+), (.+)\)")
_REM: Final = re.compile(r"([\d.]+)rem")


@dataclass(frozen=True, slots=True)
class Token:
    """A custom property. `dark` differs from `light` where the theme changes it; `px` where it is a length."""

    name: str
    light: str
    dark: str
    px: float | None


@lru_cache(maxsize=1)
def tokens() -> dict[str, list[Token]]:
    """The tokens of tokens.css by what they are: raw colours, meanings of colours, spaces, sizes."""
    sheet = (STATIC / "css" / "tokens.css").read_text("utf-8").partition("@media")[0]
    groups: dict[str, list[Token]] = {"raw": [], "meanings": [], "spaces": [], "sizes": []}
    for name, value in _DECLARATION.findall(sheet):
        group = _group(name, value)
        if group:
            two, rem = _TWO.fullmatch(value), _REM.fullmatch(value)
            light, dark = (two[1], two[2]) if two else (value, value)
            groups[group].append(Token(name, light, dark, float(rem[1]) * REM_PX if rem else None))
    return groups


def _group(name: str, value: str) -> str | None:
    if value.startswith("light-dark("):
        return "raw"
    if re.fullmatch(r"var\(--[a-z0-9-]+\)", value):
        return "meanings"
    return "spaces" if name.startswith("space-") else "sizes" if name.startswith("size") else None


@router.get("/styleguide")
def show_styleguide(request: Request) -> Response:
    return render(
        request, "styleguide.html", tokens=tokens(), flags=default_flags(), now=utc_now(), difference=changed_lines(*SAMPLE)
    )
