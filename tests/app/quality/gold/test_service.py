"""Known answers: from tasks on which all agreed, or said by an admin; put away and used again, by page and by key."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid, NotFound
from app.models import Gold, Project, Seat
from app.quality.exclusion import exclude
from app.quality.gold import service as gold
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]
V1 = "/api/v1/projects/demo"


def agreed(engine: Engine, cast: Cast) -> int:
    """A task on which three say that its second answer is better, one of them on the other side."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        task = factories.make_task(session, project)
        judge(session, project, cast.mary, task, choice="right")
        judge(session, project, cast.alan, task, choice="left", swapped=True)
        judge(session, project, cast.grace, task, choice="right")
        return task.id


def test_what_all_said_becomes_the_known_answer(engine: Engine, cast: Cast) -> None:
    task_id = agreed(engine, cast)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        assert [(task.id, people) for task, _, people in gold.unanimous(session, project.id)] == [(task_id, 3)]
        made = gold.promote(session, project, task_id, cast.grace)
        assert (made.choice, made.overall, made.source_task_id) == ("second", None, task_id)
        assert gold.unanimous(session, project.id) == []
        with pytest.raises(Conflict):
            gold.promote(session, project, task_id, cast.grace)


def test_whose_labels_train_nothing_makes_no_known_answer(engine: Engine, cast: Cast) -> None:
    task_id = agreed(engine, cast)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        exclude(session, project, cast.alan, "Guessed.", cast.grace)
        assert gold.unanimous(session, project.id) == []
        with pytest.raises(Conflict):
            gold.promote(session, project, task_id, cast.grace)


def test_two_people_or_people_who_differ_make_none(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        two, differ = factories.make_task(session, project), factories.make_task(session, project, "rating")
        for person in (cast.mary, cast.alan):
            judge(session, project, person, two, choice="left")
        for person, mark in ((cast.mary, 4), (cast.alan, 4), (cast.grace, 5)):
            judge(session, project, person, differ, overall=mark)
        assert gold.unanimous(session, project.id) == []
        with pytest.raises(Conflict):
            gold.promote(session, project, two.id, cast.grace)


def test_an_admin_says_what_is_right(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        compared, rated = factories.make_task(session, project), factories.make_task(session, project, "rating")
        with pytest.raises(Conflict):
            gold.author(session, project, compared.id, "tie", None, cast.grace)  # nobody has judged it yet
        judge(session, project, cast.mary, compared, choice="left")
        judge(session, project, cast.mary, rated, overall=4)
        assert gold.author(session, project, compared.id, "tie", None, cast.grace).choice == "tie"
        assert gold.author(session, project, rated.id, None, 2, cast.grace).overall == 2
        for task, choice, overall in ((compared, None, 3), (rated, "first", None), (rated, None, 6)):
            with pytest.raises(Invalid):
                gold.author(session, project, task.id, choice, overall, cast.grace)
        with pytest.raises(Conflict):
            gold.author(session, project, compared.id, "first", None, cast.grace)
        with pytest.raises(NotFound):
            gold.author(session, project, 99_999, "first", None, cast.grace)


def test_what_became_a_known_answer_is_asked_as_a_check_alone(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.overlap, project.extra_seats = 3, 1
        task_id = factories.make_task(session, project, seats=3).id
    mary, alan = api("annotate", who="Mary"), api("annotate", who="Alan")
    for person in (mary, alan):
        assert person.post(f"{V1}/tasks/next").json()["id"] == task_id
    assert mary.post(f"/api/v1/tasks/{task_id}/label", json={"client_id": str(uuid4()), "choice": "left"}).status_code == 201
    with write_session(engine) as session:
        gold.author(session, session.get_one(Project, cast.demo), task_id, "tie", None, cast.grace)
        seats = session.scalars(select(Seat.annotator_id).where(Seat.task_id == task_id))
        assert set(seats) == {cast.mary, cast.alan}, "nobody else is asked"
    differs = {"client_id": str(uuid4()), "choice": "tie"}
    assert alan.post(f"/api/v1/tasks/{task_id}/label", json=differs).status_code == 201
    assert mary.post(f"/api/v1/tasks/{task_id}/withdraw", json={"client_id": str(uuid4())}).status_code == 201
    with read_session(engine) as session:
        assert session.scalar(select(Seat.id).where(Seat.task_id == task_id, Seat.state == "free")) is None


def test_by_page_and_by_key(engine: Engine, cast: Cast, as_user: As, api: Api) -> None:
    task_id = agreed(engine, cast)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        other = judge(session, project, cast.mary, choice="left").task_id
    grace, key = as_user("Grace"), api("admin", who="Grace")
    assert "Make it a known answer" in grace.get("/projects/demo/gold").text
    assert grace.post("/projects/demo/gold", data={"task": task_id}).status_code == 303
    assert "Say what is right" in grace.get(f"/projects/demo/gold?task={other}").text
    assert grace.post("/projects/demo/gold", data={"task": other, "verdict": "3"}).status_code == 422
    assert grace.post("/projects/demo/gold", data={"task": other, "verdict": "both_bad"}).status_code == 303
    items = key.get(f"{V1}/gold").json()["items"]
    assert [(one["task_id"], one["choice"], one["asked"]) for one in items] == [(other, "both_bad", 0), (task_id, "second", 0)]
    assert key.delete(f"{V1}/gold/{items[0]['id']}").status_code == 204
    assert "put away" in grace.get("/projects/demo/gold").text
    assert key.post(f"{V1}/gold/{items[0]['id']}/return").status_code == 204
    assert grace.post(f"/projects/demo/gold/{items[0]['id']}/retirement").status_code == 303
    assert grace.post(f"/projects/demo/gold/{items[0]['id']}/return").status_code == 303
    with read_session(engine) as session:
        assert session.scalars(select(Gold.retired_at)).all() == [None, None]
    assert key.post(f"{V1}/gold", json={"task_id": other, "choice": "first"}).status_code == 409


def test_how_often_is_set_where_they_stand(engine: Engine, cast: Cast, as_user: As, api: Api) -> None:
    grace = as_user("Grace")
    reply = grace.post("/projects/demo/gold/settings", data={"repeat_share": "4", "gold_share": "80"})
    assert reply.status_code == 422
    assert grace.post("/projects/demo/gold/settings", data={"repeat_share": "4", "gold_share": "0"}).status_code == 303
    found = api("admin", who="Grace").get(V1).json()
    assert (found["repeat_share"], found["gold_share"], found["gold_pauses"]) == (0.04, 0, False)
