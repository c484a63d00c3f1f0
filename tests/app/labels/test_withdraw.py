"""Withdrawing: the verdict counts nowhere, its rows stay, and the task is short of a label again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, NotFound
from app.exports.rows import FORMATS, Format
from app.exports.service import ExportQuery, count_labels, prepare_export, stream_export
from app.labels import history
from app.labels.record import Stored
from app.labels.withdraw import withdraw
from app.models import Label, Project, Seat, Task, utc_now
from app.overview.my_work import agreements, work_of
from app.overview.service import pace_today
from app.runs.usable_labels import usable_label_count, usable_rewrite_count
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from tests.app.labels.test_record import labels, record, say, seat_states
from tests.app.queue.test_claim import NOON, claim, claimed, make_tasks

V1 = "/api/v1"


def take_back(engine: Engine, task_id: int, annotator_id: int, client_id: str = "", minutes: float = 2.0) -> Stored:
    with write_session(engine) as session:
        return withdraw(
            session.connection(),
            task_id,
            annotator_id,
            client_id or str(uuid.uuid4()),
            interface="test",
            now=NOON + timedelta(minutes=minutes),
        )


@pytest.fixture
def task_id(engine: Engine, cast: Cast) -> int:
    """A comparison that Mary has judged."""
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    record(engine, task_id, cast.mary, say("right", strength=2, comment="Mine."))
    return task_id


def test_a_withdrawal_is_a_version_and_none_is_in_force(engine: Engine, cast: Cast, task_id: int) -> None:
    stored = take_back(engine, task_id, cast.mary)

    given, withdrawn = labels(engine)
    assert (given.choice, given.strength, given.comment, given.current) == ("right", 2, "Mine.", False)
    assert (withdrawn.version, withdrawn.supersedes_id, withdrawn.current, withdrawn.withdrawn) == (2, given.id, False, True)
    assert (withdrawn.choice, withdrawn.comment, withdrawn.rewrite) == ("right", "", None)
    assert (stored.id, stored.version, stored.created) == (withdrawn.id, 2, True)


def test_the_task_goes_to_somebody_else_and_not_back_to_its_author(engine: Engine, cast: Cast, task_id: int) -> None:
    take_back(engine, task_id, cast.mary)

    assert seat_states(engine, task_id) == [("done", cast.mary), ("free", None)]
    assert claim(engine, cast.demo, cast.mary) is None
    assert claimed(engine, cast.demo, cast.alan) == task_id
    assert not record(engine, task_id, cast.alan, say()).surplus


def test_who_answers_again_is_counted_again_and_nobody_needs_to_stand_in(engine: Engine, cast: Cast, task_id: int) -> None:
    take_back(engine, task_id, cast.mary)

    again = record(engine, task_id, cast.mary, say("tie"), minutes=3)

    assert (again.version, again.surplus, again.created) == (3, False, True)
    assert [(label.version, label.current) for label in labels(engine)] == [(1, False), (2, False), (3, True)]
    assert seat_states(engine, task_id) == [("done", cast.mary)]


def test_who_answers_again_takes_no_seat_from_who_stands_in(engine: Engine, cast: Cast, task_id: int) -> None:
    take_back(engine, task_id, cast.mary)
    claimed(engine, cast.demo, cast.alan)

    assert record(engine, task_id, cast.mary, say("tie"), minutes=3).version == 3
    assert seat_states(engine, task_id) == [("done", cast.mary), ("leased", cast.alan)]


def test_the_same_send_again_withdraws_once(engine: Engine, cast: Cast, task_id: int) -> None:
    client_id = str(uuid.uuid4())
    first = take_back(engine, task_id, cast.mary, client_id)
    record(engine, task_id, cast.mary, say("tie"), minutes=3)

    again = take_back(engine, task_id, cast.mary, client_id, minutes=4)

    assert (again.id, again.created) == (first.id, False)
    assert labels(engine)[-1].current, "the answer given since stays"
    second = take_back(engine, task_id, cast.mary)
    assert take_back(engine, task_id, cast.mary).id == second.id, "what is withdrawn cannot be withdrawn once more"
    assert len(labels(engine)) == 4


def test_only_ones_own_verdict_can_be_withdrawn(engine: Engine, cast: Cast, task_id: int) -> None:
    with pytest.raises(NotFound):
        take_back(engine, task_id, cast.alan)
    with pytest.raises(Conflict):
        take_back(engine, task_id, cast.mary, labels(engine)[0].client_id)
    assert [label.current for label in labels(engine)] == [True]


def test_a_verdict_that_came_late_opens_no_seat(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    with write_session(engine) as session:
        session.scalars(select(Seat)).one().lease_until = NOON
    claimed(engine, cast.demo, cast.alan, NOON + timedelta(minutes=1))
    assert record(engine, task_id, cast.mary, say(), minutes=2).surplus

    take_back(engine, task_id, cast.mary, minutes=3)

    assert seat_states(engine, task_id) == [("leased", cast.alan)]


def test_it_counts_nowhere(engine: Engine, cast: Cast, settings: Settings) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        tasks = [factories.make_task(session, project, seats=2) for _ in range(3)]
        tasks.append(factories.make_task(session, project, "rating", seats=2))
        for task in tasks:
            said = {"overall": 5} if task.kind == "rating" else {"choice": "left"}
            for who in (cast.mary, cast.alan):
                judge(session, project, who, task.kind, task=task, active_ms=900, **said)
        before = everywhere(session, project, cast, settings)
        assert before == {"usable": 8, "pace": 8, "today": 4, "last": 4, "agreed": [3, 1], "counted": 8}
        for task in tasks:
            withdraw(session.connection(), task.id, cast.mary, str(uuid.uuid4()), interface="test", now=utc_now())
        after = everywhere(session, project, cast, settings)
        assert after == {"usable": 4, "pace": 4, "today": 0, "last": 4, "agreed": [0, 0], "counted": 4}
        assert usable_rewrite_count(session, project.id) == 0
    for format in FORMATS:
        people = {row["annotator"] for row in exported(engine, cast.demo, format) if row.get("current", True)}
        assert people <= {"annotator-2"}, format
    rows = exported(engine, cast.demo, "labels")
    assert (
        sorted((row["annotator"], row["current"], row["withdrawn"]) for row in rows if row["version"] == 2)
        == [("annotator-1", False, True)] * 4
    )


def everywhere(session: Session, project: Project, cast: Cast, settings: Settings) -> dict[str, object]:
    """Mary's verdicts, everywhere they count."""
    work = work_of(session, project, cast.mary, settings.runs)
    assert work.today == work.all_time == history.progress(session, project.id, cast.mary).today
    return {
        "usable": usable_label_count(session, project.id),
        "pace": pace_today(session, project.id).labels,
        "today": work.today,
        "last": len(history.last_verdicts(session, project.id, cast.mary)),
        "agreed": [one.tasks for one in agreements(session, project.id, cast.mary)],
        "counted": sum(count_labels(session, project.id).values()),
    }


def exported(engine: Engine, project_id: int, format: Format) -> list[dict[str, object]]:
    with read_session(engine) as session:
        export = prepare_export(session, session.get_one(Project, project_id), ExportQuery(format=format))
    return [json.loads(line) for line in b"".join(stream_export(engine, export)).decode().splitlines()]


def test_a_program_withdraws_and_reads_that_it_did(
    engine: Engine, cast: Cast, task_id: int, api: Callable[..., TestClient]
) -> None:
    mary = api("annotate", who="Mary")
    body = {"client_id": str(uuid.uuid4())}

    made = mary.post(f"{V1}/tasks/{task_id}/withdraw", json=body)

    assert (made.status_code, made.json()["version"]) == (201, 2)
    assert mary.post(f"{V1}/tasks/{task_id}/withdraw", json=body).status_code == 200
    versions = mary.get(f"{V1}/labels/{made.json()['id']}").json()["versions"]
    assert [(one["version"], one["current"], one["withdrawn"]) for one in versions] == [(2, False, True), (1, False, False)]
    assert mary.post(f"{V1}/tasks/{task_id}/withdraw", json={}).status_code == 422
    fresh = {"client_id": str(uuid.uuid4())}
    assert api("annotate", who="Alan").post(f"{V1}/tasks/{task_id}/withdraw", json=fresh).status_code == 404


def test_without_scripts_it_is_withdrawn_from_its_page(
    engine: Engine, cast: Cast, task_id: int, as_user: Callable[[str], TestClient]
) -> None:
    mary = as_user("Mary")
    label_id = labels(engine)[0].id
    page = mary.get(f"/labels/{label_id}").text
    assert f'action="/tasks/{task_id}/withdraw"' in page
    client_id = page.split('name="client_id" value="')[1].split('"')[0]

    reply = mary.post(f"/tasks/{task_id}/withdraw", data={"client_id": client_id})

    assert (reply.status_code, reply.headers["location"]) == (303, "/projects/demo/annotate")
    page = mary.get(f"/labels/{label_id}").text
    assert "no version of it is in force" in page
    assert f'action="/tasks/{task_id}/withdraw"' not in page
    opened = mary.get(f"/projects/demo/annotate?task={task_id}").text
    assert 'data-opened="withdrawn"' in opened
    with read_session(engine) as session:
        assert session.scalar(select(func.count(Label.id)).where(Label.current)) == 0
        assert session.get_one(Task, task_id).id == task_id


def test_a_verdict_is_changed_so_often_and_may_still_be_taken_back(
    engine: Engine, cast: Cast, task_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.labels.record.MOST_VERSIONS", 3)
    record(engine, task_id, cast.mary, say("left"))
    last = say("tie")
    record(engine, task_id, cast.mary, last)

    with pytest.raises(Conflict, match="3 times already"):
        record(engine, task_id, cast.mary, say("left"))
    assert not record(engine, task_id, cast.mary, last).created
    assert take_back(engine, task_id, cast.mary).version == 4
    with pytest.raises(Conflict, match="3 times already"):
        record(engine, task_id, cast.mary, say("left"))
