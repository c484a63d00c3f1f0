"""The round's page while people judge, and the drawing on it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.evaluation import drawing
from app.rounds import people_decide
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.judged import Judged, begin, taste, work


def with_members(engine: Engine, cast: Cast, judged: Judged) -> None:
    with write_session(engine) as session:
        factories.make_membership(session, cast.alan, judged.project, "reviewer")
        factories.make_membership(session, cast.mary, judged.project, "annotator")


def test_the_page_tells_the_decision_in_words_and_draws_how_it_came(
    engine: Engine, cast: Cast, as_user: Callable[[str], TestClient]
) -> None:
    judged = begin(engine)
    with_members(engine, cast, judged)
    reviewer = as_user("reviewer")
    before = reviewer.get(f"/rounds/{judged.round}").text
    assert "People decide, blind" in before
    people_decide.look_after(engine, judged.project)
    assert "Where that is 60%" in reviewer.get(f"/rounds/{judged.round}").text

    work(engine, judged, taste(0.75))  # not clearer: else it may be over before anybody was asked about the best of 4

    page = reviewer.get(f"/rounds/{judged.round}").text
    assert re.search(r"wins \d+% \(\d+% to \d+%\) of \d+ blind comparisons by 3 people\.", page), page
    assert "best of 4, which trains nothing," in page
    (address,) = set(re.findall(r'img src="(/evaluations/\d+/interval\.svg\?candidate=\d+&amp;prompts=\d+)"', page)[:1])
    drawn = reviewer.get(address.replace("&amp;", "&"))
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
    assert 'class="boundary"' in drawn.text
    assert as_user("Mary").get(address).status_code == 403, "how it stands is nothing for who judges"


def test_before_anything_was_said_there_is_nothing_to_draw(
    engine: Engine, cast: Cast, as_user: Callable[[str], TestClient]
) -> None:
    judged = begin(engine)
    with_members(engine, cast, judged)
    assert as_user("reviewer").get(f"/evaluations/{judged.evaluation}/interval.svg?candidate=1").status_code == 404


@pytest.mark.parametrize("width", [drawing.WIDTH, drawing.NARROW])
def test_the_interval_and_its_line_lie_within_the_drawing(width: int) -> None:
    svg = drawing.draw([(1, 0.0, 1.0), (40, 0.42, 0.81), (80, 0.51, 0.7)], 100, width)
    xs = [float(x) for x in re.findall(r"(\d+\.\d),\d", svg)]
    assert max(xs) <= width - drawing.RIGHT
    assert min(xs) == drawing.LEFT
    assert "51%" in svg
    (boundary,) = re.findall(r'class="boundary"[^>]* y1="([\d.]+)"', svg)
    lower = re.findall(r'<polyline class="end" points="([^"]+)"', svg)[1].split()[-1]
    assert float(lower.split(",")[1]) < float(boundary), "above the line: the lower end is past one half"
