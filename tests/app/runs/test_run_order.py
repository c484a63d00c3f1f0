"""Whose turn it is: projects take turns, and sampling goes first only within its own while people run out of tasks."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, Run, utc_now
from app.runs import run_order
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.told import a_worker

NOON = datetime(2026, 3, 1, 12).astimezone()


def wait(session: Session, project_id: int, *kinds: str) -> list[Run]:
    return [factories.make_run(session, project_id, kind, state="queued") for kind in kinds]


def serve(session: Session, project_id: int, minutes_ago: int, kind: str = "reward") -> None:
    factories.make_run(session, project_id, kind, heartbeat_at=utc_now() - timedelta(minutes=minutes_ago))


def fill_queue(session: Session, project_id: int) -> None:
    project = session.get_one(Project, project_id)
    project.queue_low_mark = 1
    factories.make_task(session, project)


def test_nothing_waits(session: Session) -> None:
    assert run_order.next_run(session) is None


def test_projects_take_turns_whatever_their_runs_are(session: Session, cast: Cast) -> None:
    fill_queue(session, cast.demo)
    fill_queue(session, cast.other)
    mine = wait(session, cast.demo, "reward", "ppo")
    theirs = wait(session, cast.other, "sample", "sample", "sample")
    serve(session, cast.demo, minutes_ago=9)
    serve(session, cast.other, minutes_ago=3)
    assert run_order.turns(session) == [mine[0], theirs[0], mine[1], theirs[1], theirs[2]]


def test_a_short_reward_run_waits_for_one_run_of_another_project_at_most(session: Session, cast: Cast) -> None:
    """The sighting: sampling of every other project went before it, and 2.5 minutes became 9.5."""
    sampling = [wait(session, factories.make_project(session).id, "sample", "sample") for _ in range(4)]
    (reward,) = wait(session, cast.demo, "reward")
    for project, *_ in sampling:
        serve(session, project.project_id, minutes_ago=1, kind="sample")
    serve(session, cast.demo, minutes_ago=5)
    assert run_order.next_run(session) is reward


def test_a_project_that_was_never_served_comes_first(session: Session, cast: Cast) -> None:
    wait(session, cast.demo, "reward")
    (new,) = wait(session, cast.other, "ppo")
    serve(session, cast.demo, minutes_ago=60 * 24)
    assert run_order.next_run(session) is new


def test_of_two_new_projects_the_one_that_asked_first_comes_first(session: Session, cast: Cast) -> None:
    (first,) = wait(session, cast.other, "reward")
    wait(session, cast.demo, "sample")
    assert run_order.next_run(session) is first


def test_within_a_project_sampling_overtakes_only_while_the_queue_is_dry(session: Session, cast: Cast) -> None:
    reward, sample = wait(session, cast.demo, "reward", "sample")
    assert run_order.turns(session) == [sample, reward]
    fill_queue(session, cast.demo)
    assert run_order.turns(session) == [reward, sample]


def test_sampling_overtakes_a_round_twice_and_no_more(session: Session, cast: Cast) -> None:
    (reward,) = wait(session, cast.demo, "reward")
    first, second, third = wait(session, cast.demo, "sample", "sample", "sample")
    assert run_order.turns(session) == [first, second, reward, third]
    first.state, first.started_at = "done", utc_now()
    second.state, second.started_at = "done", utc_now()
    session.flush()
    assert run_order.turns(session) == [reward, third]


def test_what_was_interrupted_goes_on_first(session: Session, cast: Cast) -> None:
    (ppo,) = wait(session, cast.demo, "ppo")
    wait(session, cast.other, "reward")
    ppo.started_at = ppo.heartbeat_at = utc_now()
    session.flush()
    assert run_order.next_run(session) is ppo


def test_a_day_of_three_projects_is_served_fairly(session: Session, cast: Cast) -> None:
    """One keeps asking for answers, one runs rounds, one comes now and then: each gets every third turn it wants."""
    third = factories.make_project(session).id
    for project_id in (cast.demo, cast.other, third):
        fill_queue(session, project_id)
    served: list[int] = []
    for minute in range(12):
        for project_id, kind in ((cast.demo, "sample"), (cast.other, "ppo"), (third, "reward")):
            if not any(run.project_id == project_id for run in run_order.turns(session)):
                wait(session, project_id, kind)
        run = run_order.next_run(session)
        assert run is not None
        run.state, run.heartbeat_at = "done", NOON + timedelta(minutes=minute)
        session.flush()
        served.append(run.project_id)
    assert served == [cast.demo, cast.other, third] * 4


# What pages say


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_a_waiting_run_names_the_other_project_only_to_its_members(
    as_user: Callable[[str], TestClient], engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        a_worker(session)
        factories.make_prompt(session, cast.demo)
        factories.make_run(session, cast.other, "reward", state="running", eta_s=300.0, started_at=utc_now())
        ahead, run = wait(session, cast.demo, "ppo", "reward")
        page, overview = f"/runs/{run.id}", "/projects/demo"
        for one in (ahead, run):
            one.config = {"updates": 1, "episodes": 1, "epochs": 1, "max_new_tokens": 1}

    for grace in (words(as_user("Grace").get(page).text), words(as_user("Grace").get(overview).text)):
        assert "Other" not in grace
    assert "It waits for another project's run, as projects take turns." in words(as_user("Grace").get(page).text)
    assert "The worker is busy with another project" in words(as_user("Grace").get(overview).text)

    owner = words(as_user("Ada").get(page).text)
    assert "The worker is fitting a reward model for the project Other; this comes after it" in owner
    assert "Before it: 1 more run. It should start in about 5 minutes." in owner
    assert "The worker is fitting a reward model for the project Other, about 5 minutes left" in words(
        as_user("Ada").get(overview).text
    )


def test_a_program_reads_when_a_run_should_start(api: Callable[..., TestClient], engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        factories.make_run(session, cast.other, "reward", state="running", eta_s=300.0)
        run_id = wait(session, cast.demo, "ppo")[0].id
    read = api("admin", who="Grace").get(f"/api/v1/runs/{run_id}").json()
    assert read["starts_in_s"] is None, "there is no worker"
    with write_session(engine) as session:
        a_worker(session)
    assert api("admin", who="Grace").get(f"/api/v1/runs/{run_id}").json()["starts_in_s"] == 300.0
