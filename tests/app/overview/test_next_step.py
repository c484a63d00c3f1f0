"""The overview's first word: one thing to do, or an honest sentence about what is being waited for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, delete
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.labels.empty_desk import waiting
from app.language import formats
from app.models import Project, Round, Seat
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from tests.app.overview.test_service import seen
from tests.app.rounds.told import a_worker

Browser = Callable[[str], TestClient]


def main_buttons(page: str) -> list[str]:
    return [words.strip() for words in re.findall(r'class="button button--main"[^>]*>([^<]*)<', page)]


def test_the_first_minute_has_one_button_and_it_stands_before_the_ring(client: TestClient, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_task(session, session.get_one(Project, cast.demo))

    page = client.get("/projects/demo").text

    assert main_buttons(page) == ["Judge the first answers"]
    assert page.index("Judge the first answers") < page.index('class="sentences"') < page.index('class="loop"')


CONFIG: dict[str, Any] = {"per_prompt": 2, "max_new_tokens": 64, "batch_size": 16}


@pytest.mark.parametrize(
    ("run", "overview", "desk"),
    [
        (
            {"state": "running", "step": 3, "total": 40, "eta_s": 370.0},
            "is writing answers to be judged: 3 of 40.",
            "3 of 40 are",
        ),
        ({"state": "running"}, "The model begins to write answers to be judged.", "The model is writing answers"),
        ({"state": "queued"}, "The model writes answers to be judged next.", "The model writes answers next"),
        ({"kind": "ppo", "state": "running", "eta_s": 4000.0, "round_id": 1}, "The model is learning;", "The model is learning"),
        ({"kind": "sft", "state": "running", "eta_s": 4000.0}, "has written nothing to be judged yet", "Everything is answered"),
    ],
)
def test_where_nothing_can_be_done_it_says_what_is_waited_for_and_annotators_read_the_same(
    as_user: Browser, engine: Engine, cast: Cast, run: dict[str, Any], overview: str, desk: str
) -> None:
    with write_session(engine) as session:
        a_worker(session)
        project = session.get_one(Project, cast.demo)
        project.queue_low_mark = 0
        factories.make_prompt(session, cast.demo)
        if "round_id" in run:
            begun = {"project_id": cast.demo, "start_policy_id": project.policy_id, "label_count": 30}
            session.add(Round(id=1, number=1, state="ppo", trigger="labels", **begun))
            session.flush()
        factories.make_run(session, cast.demo, config=CONFIG, **run)
        told = waiting(session, project)

    page = as_user("Grace").get("/projects/demo").text
    theirs = as_user("Mary").get("/projects/demo/annotate").text

    assert main_buttons(page) == []
    assert overview in seen(page)
    assert desk in theirs
    if told.seconds is not None:
        assert formats.roughly(told.seconds) in seen(page)
        assert formats.roughly(told.seconds) in theirs


def test_without_a_worker_nobody_is_told_that_the_model_writes(as_user: Browser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, cast.demo)
        factories.make_run(session, cast.demo, config=CONFIG, state="running", step=3, total=40)
    assert "The model would write answers to be judged, but no worker is running." in seen(
        as_user("Grace").get("/projects/demo").text
    )
    assert "No answers are being written right now" in as_user("Mary").get("/projects/demo/annotate").text


def test_who_has_judged_everything_is_not_sent_to_an_empty_page(as_user: Browser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        a_worker(session)
        project = session.get_one(Project, cast.demo)
        project.queue_low_mark = 0
        judge(session, project, cast.grace, task=factories.make_task(session, project, seats=2))

    assert main_buttons(as_user("Alan").get("/projects/demo").text) == ["Judge answers"]
    page = as_user("Grace").get("/projects/demo").text
    assert main_buttons(page) == []
    assert "You have judged all that is open to you; the tasks that are left wait for other people." in seen(page)
    with write_session(engine) as session:
        session.execute(delete(Seat).where(Seat.state == "free"))
    assert main_buttons(as_user("Alan").get("/projects/demo").text) == []
