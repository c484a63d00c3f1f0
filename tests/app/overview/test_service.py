from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Label, Project, Round, utc_now
from app.overview import service
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds import told

Browser = Callable[[str], TestClient]


def seen(page: str) -> str:
    """The words of a page, as a person reads them."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page[page.index("<main") :])).split())


def label(engine: Engine, cast: Cast, annotator_id: int, active_ms: int, **values: object) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        task = factories.make_task(session, project, "rating")
        session.add(
            Label(
                project_id=project.id,
                task_id=task.id,
                annotator_id=annotator_id,
                client_id=f"{task.id}",
                payload_hash="0" * 64,
                kind="rating",
                overall=4,
                left_generation_id=task.first_generation_id,
                guideline_version=1,
                interface_version="1",
                active_ms=active_ms,
                served_reason="random",
                **values,
            )
        )


def test_pace_counts_people_and_new_labels_of_today(engine: Engine, cast: Cast) -> None:
    for person, milliseconds in ((cast.mary, 3000), (cast.mary, 5000), (cast.alan, 10000)):
        label(engine, cast, person, milliseconds)
    label(engine, cast, cast.grace, 1, created_at=utc_now() - timedelta(days=2))
    label(engine, cast, cast.mary, 60_000, version=2, supersedes_id=1)  # a correction
    with read_session(engine) as session:
        assert service.pace_today(session, cast.demo) == service.Pace(labels=3, people=2, median_s=5.0, timed=3)


def test_an_empty_project_says_what_to_do_first(client: TestClient, cast: Cast) -> None:
    assert "Give it prompts first" in seen(client.get("/projects/demo").text)


def test_the_overview_says_in_four_sentences_where_things_stand(client: TestClient, engine: Engine, cast: Cast) -> None:
    label(engine, cast, cast.mary, 5200)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.trigger_labels, project.triggers_on = 50, True
        run = factories.make_run(session, cast.demo, state="running", eta_s=120.0, step=1, total=4)
        told.a_worker(session)
        run_id = run.id
    page = client.get("/projects/demo").text
    words = seen(page)
    assert "1 label since the start; a round waits for 29 more labels" in words
    assert "1 person today, 1 label, 5.2 s for one, the median of 1 label." in words
    assert "The queue holds 1 open task." in words
    assert "The worker is writing answers, about 2 minutes left." in words
    assert f'href="/runs/{run_id}"' in page


def test_a_candidate_that_waits_is_the_first_thing_to_do(
    client: TestClient, engine: Engine, cast: Cast, settings: Settings
) -> None:
    with write_session(engine) as session:
        round_id = told.tell(session, session.get_one(Project, cast.demo), settings.runs).round
    page = client.get("/projects/demo").text
    assert f'class="button button--main" href="/rounds/{round_id}">Decide on round 1</a>' in page
    assert "Candidate waits for a decision" in seen(page)


@pytest.mark.parametrize(
    ("state", "states"),
    [
        ("reward", ["done", "active", "idle", "idle"]),
        ("ppo", ["done", "done", "active", "idle"]),
        ("sample", ["done", "done", "done", "active"]),
        ("decision", ["done", "done", "done", "waiting"]),
    ],
)
def test_the_loop_marks_the_station_where_the_round_is(engine: Engine, cast: Cast, state: str, states: list[str]) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        session.add(
            Round(project_id=project.id, number=1, state=state, trigger="admin", label_count=1, start_policy_id=project.policy_id)
        )
        session.flush()
        stations = service.project_overview(session, project, None).stations
    assert [station.state for station in stations[:4]] == states


def test_an_annotator_goes_straight_to_work(as_user: Browser) -> None:
    assert as_user("Mary").get("/projects/demo").headers["location"] == "/projects/demo/annotate"


def test_home_lists_projects_or_opens_the_only_one(as_user: Browser) -> None:
    assert as_user("Mary").get("/").headers["location"] == "/projects/demo"
    owner = seen(as_user("owner").get("/").text)
    assert "Demo" in owner
    assert "Other" in owner
