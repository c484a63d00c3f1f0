"""An evaluation filling up, as SVG: the interval of a win rate over prompts, narrowing, and the line it has to leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from app.language.formats import count as count_of
from app.language.formats import number, percent
from app.language.languages import _

CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
WIDTH, NARROW, HEIGHT = 560, 320, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 34  # around the drawing
TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"


def _rules(text: str, line: str, accent: str, boundary: str) -> str:
    return (
        f"text{{fill:{text}}}.axis{{stroke:{line}}}.band{{fill:{accent};fill-opacity:.16}}.end{{stroke:{accent};fill:none}}"
        f".boundary{{stroke:{boundary};stroke-dasharray:5 4}}"
    )


_STYLE = (
    f"text{{font:12px {_FONT}}}.end{{stroke-width:2}}.boundary{{stroke-width:1.5}}"
    + _rules("#5b564d", "#dcd8cf", "#27548a", "#8a4b27")
    + f"@media (prefers-color-scheme:dark){{{_rules('#b5aea2', '#3a3732', '#8db6e6', '#e6b48d')}}}"
)


def draw(track: Sequence[Sequence[Any]], planned: int, width: int = WIDTH) -> str:
    """`track`: (prompts, lower, upper) after so many; `planned`: with so many the budget is spent."""
    most = max(planned, int(track[-1][0]), 1)

    def x(count: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * count / most

    def y(rate: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - rate)

    points = [(0, 0.0, 1.0), *((int(count), float(low), float(high)) for count, low, high in track)]
    lower = [f"{x(count):.1f},{y(low):.1f}" for count, low, _high in points]
    upper = [f"{x(count):.1f},{y(high):.1f}" for count, _low, high in points]
    axis = "".join(
        f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{escape(percent(tick))}</text>'
        for tick in TICKS
    )
    counts = "".join(
        f'<text x="{x(count):.1f}" y="{HEIGHT - 18}" text-anchor="{anchor}">{escape(number(count))}</text>'
        for count, anchor in ((0, "middle"), (most / 2, "middle"), (most, "end"))
        if count == int(count)
    )
    below = escape(_("prompts answered in full"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}">'
        f"<title>{escape(alt(track))}</title><style>{_STYLE}</style>{axis}{counts}"
        f'<text x="{width / 2:.0f}" y="{HEIGHT - 3}" text-anchor="middle">{below}</text>'
        f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>'
        f'<polyline class="end" points="{" ".join(upper)}"/><polyline class="end" points="{" ".join(lower)}"/>'
        f'<line class="boundary" x1="{LEFT}" x2="{width - RIGHT}" y1="{y(0.5):.1f}" y2="{y(0.5):.1f}"/></svg>'
    )


def alt(track: Sequence[Sequence[Any]]) -> str:
    """The drawing in words."""
    count, lower, upper = track[-1]
    return _(
        "After %(prompts)s the win rate lies between %(low)s and %(high)s; the line to be left behind is at 50%%.",
        prompts=count_of(int(count), "prompt"),
        low=percent(lower),
        high=percent(upper),
    )
