"""Why somebody has nothing to answer, and when to come back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, Seat, utc_now
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.told import a_worker

As = Callable[[str], TestClient]
PAGE = "/projects/demo/annotate"
CALL = "/api/v1/projects/demo/waiting"
SAMPLE: dict[str, Any] = {"kind": "sample", "config": {"per_prompt": 2, "max_new_tokens": 64, "batch_size": 16}}


@pytest.mark.parametrize(
    ("run", "reason", "words"),
    [
        ({**SAMPLE, "state": "running", "step": 12, "total": 40}, "writing", "12 of 40 are written"),
        ({**SAMPLE, "state": "queued"}, "queued", "The model writes answers next"),
        ({"kind": "ppo", "state": "running", "eta_s": 600.0}, "no_prompts", "This project has no prompts yet"),
        (None, "no_prompts", "This project has no prompts yet"),
    ],
)
def test_an_empty_queue_says_what_is_happening(
    as_user: As, api: Any, engine: Engine, cast: Cast, run: dict[str, Any] | None, reason: str, words: str
) -> None:
    with write_session(engine) as session:
        a_worker(session)
        if run is not None:
            factories.make_run(session, cast.demo, **run)

    page = as_user("Mary").get(PAGE)

    assert page.status_code == 200
    assert words in page.text
    assert 'data-connect="look_again"' in page.text
    assert api("annotate", who="Mary").get(CALL).json()["reason"] == reason


def test_it_does_not_say_a_minute_when_twenty_two_are_ahead(as_user: As, api: Any, engine: Engine, cast: Cast) -> None:
    """The page, the call and the overview, from one estimate; nobody learns whose run comes first."""
    with write_session(engine) as session:
        a_worker(session)
        prompts = [factories.make_prompt(session, cast.demo).id for _ in range(8)]
        factories.make_run(session, cast.other, "ppo", state="running", eta_s=21.5 * 60, heartbeat_at=utc_now())
        factories.make_run(session, cast.demo, state="queued", inputs={"prompt_ids": prompts}, **SAMPLE)

    desk = as_user("Mary").get(PAGE).text
    assert "The machine has other work first: new tasks should be there in about 22 minutes. Come back then." in desk
    assert "Other" not in desk
    told = api("annotate", who="Mary").get(CALL).json()
    assert told["reason"] == "queued"
    assert 21.5 * 60 < told["seconds"] < 22.5 * 60
    overview = as_user("Grace").get("/projects/demo").text
    assert "The first new tasks should be there in <strong>about 22 minutes</strong>" in overview


def test_where_nothing_works_it_is_not_promised(as_user: As, api: Any, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_run(session, cast.demo, state="queued", **SAMPLE)
    assert "No answers are being written right now" in as_user("Mary").get(PAGE).text
    assert api("annotate", who="Mary").get(CALL).json() == {"reason": "no_worker", "seconds": None, "done": 0, "total": 0}


def test_a_seat_that_somebody_else_holds_may_come_back(as_user: As, api: Any, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        a_worker(session)
        project = session.get_one(Project, cast.demo)
        project.queue_low_mark = 0
        task = factories.make_task(session, project)
        held = {"state": "leased", "annotator_id": cast.alan, "lease_until": utc_now() + timedelta(minutes=5)}
        session.execute(update(Seat).where(Seat.task_id == task.id).values(**held))
    assert "You have answered everything open to you" in as_user("Mary").get(PAGE).text
    told = api("annotate", who="Mary").get(CALL).json()
    assert told["reason"] == "others"
    assert 290 < told["seconds"] <= 300
