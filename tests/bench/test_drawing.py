"""Pictures of measurements."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.drawing import chart, svg


def test_a_picture_has_its_titles_and_points_and_nothing_that_runs() -> None:
    drawing = chart("Wins", "round", "share", range=(0, 1))
    drawing.add("ours", [(0, 0.5), (1, 0.7)])

    drawn = svg(drawing)

    tags = [str(one.tag).rpartition("}")[2] for one in ElementTree.fromstring(drawn).iter()]
    assert {"script", "desc"}.isdisjoint(tags)
    assert tags.count("circle") == 2
    assert all(f">{said}<" in drawn for said in ("Wins", "round", "share", "ours"))
