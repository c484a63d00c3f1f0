"""The overview's first word: one thing to do, or an honest sentence about what is being waited for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, delete
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, Seat
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from tests.app.overview.test_service import seen

Browser = Callable[[str], TestClient]


def main_buttons(page: str) -> list[str]:
    return [words.strip() for words in re.findall(r'class="button button--main"[^>]*>([^<]*)<', page)]


def test_the_first_minute_has_one_button_and_it_stands_before_the_ring(client: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_task(session, session.get_one(Project, cast.demo))

    page = client.get("/projects/demo").text

    assert main_buttons(page) == ["Judge the first answers"]
    assert page.index("Judge the first answers") < page.index('class="sentences"') < page.index('class="loop"')


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"state": "running", "step": 3, "total": 40}, "The model is writing answers to be judged: 3 of 40."),
        ({"state": "queued"}, "The model begins to write answers to be judged."),
        ({"state": "running", "kind": "reward"}, "The model is learning; it writes new answers"),
        (None, "The model has written nothing to be judged yet."),
    ],
)
def test_where_nothing_can_be_done_it_says_what_is_waited_for(
    client: TestClient, engine: Engine, cast: Cast, run: dict[str, object] | None, words: str
) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo)
        if run is not None:
            factories.make_run(session, cast.demo, **run)  # type: ignore[arg-type]

    page = client.get("/projects/demo").text

    assert main_buttons(page) == []
    assert words in seen(page)


def test_who_has_judged_everything_is_not_sent_to_an_empty_page(as_user: Browser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        judge(session, project, cast.grace, task=factories.make_task(session, project, seats=2))

    assert main_buttons(as_user("Alan").get("/projects/demo").text) == ["Judge answers"]
    page = as_user("Grace").get("/projects/demo").text
    assert main_buttons(page) == []
    assert "You have judged all that is open to you." in seen(page)
    with write_session(engine) as session:
        session.execute(delete(Seat).where(Seat.state == "free"))
    assert main_buttons(as_user("Alan").get("/projects/demo").text) == []
