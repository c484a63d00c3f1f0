"""The preview is the annotator's own page, with the project's words in it, and stores nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Label, Project, Seat
from app.projects.service import update_project
from tests.app import factories
from tests.app.conftest import Cast

AsUser = Callable[[str], TestClient]
PREVIEW = "/projects/demo/settings/preview"


def controls(page: str) -> set[str]:
    """The names of everything a verdict can be said with."""
    desk = page.partition('class="desk"')[2]
    fields = "choice|overall|strength|criteria|flags|rewrite|comment"
    return set(re.findall(rf'<(?:input|textarea)[^>]* name="((?:{fields})[a-z_.]*)"', desk))


@pytest.mark.parametrize("kind", ["comparison", "rating"])
def test_it_has_every_control_of_the_real_page(as_user: AsUser, engine: Engine, cast: Cast, kind: str) -> None:
    with write_session(engine) as session:
        factories.make_task(session, session.get_one(Project, cast.demo), kind)
    real = controls(as_user("Mary").get("/projects/demo/annotate").text)
    assert len(real) > 5
    assert controls(as_user("Grace").get(f"{PREVIEW}?kind={kind}").text) == real


def test_it_shows_the_words_of_the_project(as_user: AsUser, engine: Engine, cast: Cast) -> None:
    flag = {"key": "dull", "name": "dull indeed", "description": "", "weight": 0.1}
    criterion = {"key": "wit", "name": "Wittiness", "description": "", "anchors": {"1": "dry", "5": "sparkling"}}
    with write_session(engine) as session:
        values = {"flags": [flag], "criteria": [criterion], "guidelines": "Prefer **wit**.", "text_display": "markdown"}
        update_project(session, session.get_one(Project, cast.demo), values, by=None)  # type: ignore[arg-type]
    page = as_user("Grace").get(f"{PREVIEW}?kind=rating").text
    for words in ("dull indeed", "Wittiness", "sparkling", "<strong>wit</strong>", "<strong>many colours</strong>"):
        assert words in page, words


def test_what_is_sent_from_it_is_not_stored(as_user: AsUser, engine: Engine) -> None:
    grace = as_user("Grace")
    page = grace.get(PREVIEW).text
    (action,) = re.findall(r'<form class="task" method="post" action="([^"]+)"', page)
    reply = grace.post(action, data={"choice": "left", "client_id": "x"}, follow_redirects=True)
    assert "Nothing was stored." in reply.text
    with read_session(engine) as session:
        assert session.scalar(select(func.count(Label.id))) == session.scalar(select(func.count(Seat.id))) == 0
