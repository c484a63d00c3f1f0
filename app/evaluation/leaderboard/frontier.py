"""The frontier as a picture: how often each contender wins against the base, by how far it went from it.

By the root of KL: in the reward that a policy trains for, gains grow about with it (Gao et al. 2023, arXiv:2210.10760).
Colours repeat static/css/tokens.css, because a picture cannot see the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from app.evaluation.leaderboard.service import Row
from app.language import formats
from app.language.languages import _
from app.runs.figures.charts import HEIGHT, WIDTH, nice_ticks

LEFT, RIGHT, TOP, BOTTOM = 44, 16, 12, 28  # px around the field
_STYLE: Final = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Liberation Sans',sans-serif;fill:#5b564d}"
    ".grid{stroke:#dcd8cf}.even{stroke:#5b564d;stroke-dasharray:4 4}.mark{stroke:#27548a;stroke-width:2}.dot{fill:#27548a}"
    ".name{fill:#1f1d1a;font-weight:600}"
    "@media (prefers-color-scheme:dark){text{fill:#b5aea2}.grid{stroke:#3a3732}.even{stroke:#b5aea2}.mark{stroke:#8db6e6}"
    ".dot{fill:#8db6e6}.name{fill:#ece8e0}}"
)


def alt(rows: Sequence[Row]) -> str:
    """The picture in a sentence."""
    nearest, furthest = rows[0], rows[-1]
    return _(
        "Win rate against the base by the root of KL: %(near)s at %(start)s, %(far)s at %(end)s.",
        near=formats.percent(nearest.standing.rate),
        start=formats.number(nearest.root_kl or 0.0),
        far=formats.percent(furthest.standing.rate),
        end=formats.number(furthest.root_kl or 0.0),
    )


def draw(rows: Sequence[Row], places: dict[int, int], width: int = WIDTH) -> bytes:
    """An SVG; each dot bears its contender's place in the table. `rows` is not empty."""
    across = nice_ticks(0.0, max(row.root_kl or 0.0 for row in rows) or 1.0)
    low = min(min(row.standing.lower for row in rows), 0.45)
    high = max(max(row.standing.upper for row in rows), 0.55)
    up = [tick for tick in nice_ticks(low, high) if -1e-9 <= tick <= 1 + 1e-9]

    def x(value: float) -> float:
        return LEFT + (width - LEFT - RIGHT) * (value - across[0]) / (across[-1] - across[0])

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (up[-1] - value) / (up[-1] - up[0])

    parts = [
        _line("grid", LEFT, y(tick), width - RIGHT, y(tick)) + _text(LEFT - 6, y(tick) + 4, formats.percent(tick), "end")
        for tick in up
    ]
    parts += [_text(x(tick), HEIGHT - 10, formats.number(tick), "middle") for tick in across]
    parts.append(_line("even", LEFT, y(0.5), width - RIGHT, y(0.5)))
    for row in rows:
        at, said = x(row.root_kl or 0.0), row.standing
        parts.append(_line("mark", at, y(max(said.lower, up[0])), at, y(min(said.upper, up[-1]))))
        parts.append(f'<circle class="dot" cx="{at:.1f}" cy="{y(said.rate):.1f}" r="4"/>')
        parts.append(_text(at + 8, y(said.rate) - 6, str(places[said.contender]), "start", "name"))
    title = escape(alt(rows))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}">'
        f"<title>{title}</title><style>{_STYLE}</style>{''.join(parts)}</svg>"
    ).encode()


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
