"""Pictures of what was measured, as SVG for the documentation: points and curves over numbers, without scripts."""

from __future__ import annotations

from typing import Any

import pygal


def chart(title: str, x_title: str, y_title: str, **settings: Any) -> pygal.XY:
    """An empty picture; `add` puts a named curve of (x, y) into it. `settings` are pygal's."""
    plain = {"pretty_print": False, "no_prefix": True, "js": [], "style": pygal.style.CleanStyle, "legend_at_bottom": True}
    drawing = pygal.XY(
        width=760, height=420, title=title, x_title=x_title, y_title=y_title, **plain | {"dots_size": 3} | settings
    )
    drawing.add_xml_filter(_without_scripts)
    return drawing


def svg(drawing: pygal.XY) -> str:
    return str(drawing.render(is_unicode=True))


def _without_scripts(root: Any) -> Any:
    """pygal adds a script with its settings, and descriptions for tooltips that nothing would show."""
    for parent in root.iter():
        for child in list(parent):
            if str(child.tag).endswith(("script", "desc")):
                parent.remove(child)
    return root
