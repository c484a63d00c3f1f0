"""What pages and calls show of those who judge, counted by the page or kept by a worker, and who may see it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import JudgesReport, Label, Membership, Project, Task, last_midnight, utc_now
from app.quality import columns, service
from app.quality.gold import pausing
from app.quality.noise.checked import Checked, checked
from app.quality.service import keep_counting, told
from app.quality.steadiness import steadiness
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.quality.checked import answer_again, answer_gold

As = Callable[[str], TestClient]
Api = Callable[..., TestClient]


def furnish(engine: Engine, cast: Cast) -> None:
    """Mary and Alan agree on three of four comparisons and on a rating; Mary says the same again, once of two."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for place in range(4):
            task = factories.make_task(session, project)
            first = judge(session, project, cast.mary, task, choice="left", criteria={"fluency": "left"}, active_ms=4_000)
            judge(session, project, cast.alan, task, choice="left" if place else "right")
            if place < 2:
                answer_again(session, project, cast.mary, first, "left" if place else "tie")
        rated = factories.make_task(session, project, "rating")
        judge(session, project, cast.mary, rated, overall=4)
        judge(session, project, cast.alan, rated, overall=5)
        answer_gold(session, project, cast.alan, right=True)


def test_the_figures_over_the_api(engine: Engine, cast: Cast, api: Api) -> None:
    furnish(engine, cast)
    grace = api("export", who="Grace")
    found = grace.get("/api/v1/projects/demo/agreement").json()
    assert [(one["key"], one["kind"], one["nominal"]["n"]) for one in found["questions"]] == [
        ("", "comparison", 8),
        ("", "rating", 2),
        ("fluency", "comparison", 0),
    ]
    assert found["counted_at"] is None
    (pair,) = found["pairs"]
    assert (pair["alike"]["n"], pair["alike"]["value"], pair["alike"]["enough"]) == (5, 0.8, False)
    people = grace.get("/api/v1/projects/demo/annotators").json()["items"]
    assert [one["name"] for one in people] == ["Alan", "Mary"]
    alan, mary = people
    assert (mary["labels"], mary["steady"]["n"], mary["steady"]["value"]) == (7, 2, 0.5)
    assert (alan["gold"]["n"], alan["gold"]["value"], alan["paused"], alan["excluded"]) == (1, 1.0, False, False)
    assert (mary["seconds"]["n"], mary["seconds"]["value"]) == (4, 4.0)


@pytest.mark.parametrize(("who", "status"), [("Grace", 200), ("Alan", 200), ("Mary", 403), ("Eve", 404)])
def test_reviewers_and_admins_see_the_pages_and_annotators_do_not(
    engine: Engine, cast: Cast, as_user: As, who: str, status: int
) -> None:
    furnish(engine, cast)
    for page in ("agreement", f"annotators/{cast.mary}"):
        reply = as_user(who).get(f"/projects/demo/{page}")
        assert reply.status_code == status, page
    if status == 200:
        assert "heat--" not in as_user(who).get("/projects/demo/agreement").text, "no colour under thirty"
        assert as_user(who).get(f"/projects/demo/annotators/{cast.eve}").status_code == 404


def test_a_pair_with_thirty_tasks_is_tinted(engine: Engine, cast: Cast, as_user: As) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(30):
            task = factories.make_task(session, project)
            for person in (cast.mary, cast.alan):
                judge(session, project, person, task, choice="left")
    assert "heat--4" in as_user("Alan").get("/projects/demo/agreement").text


def asked_again(engine: Engine, cast: Cast, said: list[str], at: datetime) -> list[int]:
    """Mary said that the left one is better, and this when she was asked again; the tasks that came back."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        before = [judge(session, project, cast.mary, choice="left", created_at=at) for _ in said]
        found = zip(before, said, strict=True)
        return [answer_again(session, project, cast.mary, one, choice, created_at=at).task_id for one, choice in found]


def test_ones_own_work_says_how_often_one_said_the_same_again(engine: Engine, cast: Cast, as_user: As, api: Api) -> None:
    mary = api("annotate", who="Mary")

    def steady() -> tuple[int, float] | None:
        found = mary.get("/api/v1/projects/demo/work").json()["steady"]
        return found and (found["n"], found["value"])

    yesterday = last_midnight() - timedelta(hours=1)
    asked_again(engine, cast, ["left"] * 6 + ["tie"] * 3, yesterday)
    asked_again(engine, cast, ["left"], utc_now())
    assert steady() is None, "nine, and which one came today is not told"
    assert "came back" not in as_user("Mary").get("/projects/demo/work").text
    (task_id,) = asked_again(engine, cast, ["tie"], yesterday)
    assert steady() == (10, 0.6)
    assert "10 tasks" in as_user("Mary").get("/projects/demo/work").text
    with write_session(engine) as session:
        first = session.scalars(select(Label).where(Label.task_id == task_id)).one()
        judge(
            session,
            session.get_one(Project, cast.demo),
            cast.mary,
            session.get_one(Task, task_id),
            choice="left",
            supersedes=first,
        )
    assert steady() == (10, 0.6), "the first verdict counts"
    assert "Known answers" not in as_user("Alan").get("/projects/demo/work").text


def test_who_corrects_a_check_is_no_steadier_and_no_more_right(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        before = judge(session, project, cast.mary, choice="left")
        again = answer_again(session, project, cast.mary, before, "tie")
        wrong = answer_gold(session, project, cast.mary, right=False)
        for one in (before, again, wrong):
            task, choice = session.get_one(Task, one.task_id), "tie" if one is before else "left"
            judge(session, project, cast.mary, task, choice=choice, supersedes=one, served_reason=one.served_reason)
        member = session.scalars(select(Membership).where(Membership.user_id == cast.mary)).one()
        assert pausing._missed(session, cast.demo, member) == [True]
    (mary,) = api("export", who="Grace").get("/api/v1/projects/demo/annotators").json()["items"]
    assert (mary["steady"]["n"], mary["steady"]["value"]) == (1, 0.0)
    assert (mary["gold"]["n"], mary["gold"]["value"]) == (1, 0.0)


def test_a_reviewer_who_judges_too_is_not_told_which_of_their_tasks_were_checks(
    engine: Engine, cast: Cast, as_user: As, api: Api
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        before = judge(session, project, cast.alan, choice="left")
        label_id = answer_again(session, project, cast.alan, before, "left").id
    alan, grace = api("annotate", who="Alan"), api("annotate", who="Grace")
    address = f"/api/v1/labels/{label_id}"
    assert (alan.get(address).json()["label"]["served_reason"], grace.get(address).json()["label"]["served_reason"]) == (
        None,
        "repeat",
    )
    assert "asked once more" not in as_user("Alan").get(f"/labels/{label_id}").text
    assert "asked once more" in as_user("Grace").get(f"/labels/{label_id}").text
    for who, times in (("Alan", 0), ("Grace", 1)):
        (alone,) = api("export", who=who).get("/api/v1/projects/demo/annotators").json()["items"]
        assert alone["steady"]["n"] == times
        assert ("steady" in alone["left_out"]) == (who == "Alan")
    for path in ("agreement", f"annotators/{cast.alan}"):
        mine, theirs = (as_user(who).get(f"/projects/demo/{path}").text for who in ("Alan", "Grace"))
        assert ("not shown to you</span>" in mine, "not shown to you</span>" in theirs) == (True, False), (
            "it is no lack of figures"
        )
    with write_session(engine) as session:
        session.get_one(Label, label_id).created_at = last_midnight() - timedelta(hours=1)
    assert alan.get(address).json()["label"]["served_reason"] == "random", "that it was a check is for admins"


@pytest.mark.parametrize("check", ["gold", "repeat"])
def test_which_labels_were_checks_is_told_to_admins_alone(engine: Engine, cast: Cast, as_user: As, api: Api, check: str) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        if check == "gold":
            label_id = answer_gold(session, project, cast.mary, right=True).id
        else:
            label_id = answer_again(session, project, cast.mary, judge(session, project, cast.mary, choice="left"), "left").id
    words = {"gold": "asked as a check", "repeat": "asked once more"}[check]
    for who, reason in (("Alan", "random"), ("Grace", check)):
        program = api("annotate", who=who)
        shown = program.get(f"/api/v1/labels/{label_id}").json()
        (listed,) = [one for one in program.get("/api/v1/projects/demo/labels").json()["items"] if one["id"] == label_id]
        assert [one["served_reason"] for one in (listed, shown["label"], *shown["versions"])] == [reason] * 3
        page = as_user(who).get(f"/labels/{label_id}").text
        assert (words in page, "asked at random" in page) == (who == "Grace", who == "Alan")


def test_ones_own_figures_move_alike_whether_a_task_was_a_check_or_not(engine: Engine, cast: Cast, as_user: As, api: Api) -> None:
    """Whoever reads them before and after an answer learns nothing of it."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(40):
            task = factories.make_task(session, project)
            for person, choice in ((cast.alan, "left"), (cast.mary, "left"), (cast.grace, "right")):
                judge(session, project, person, task, choice=choice, active_ms=4_000)
        before = judge(session, project, cast.alan, choice="left", active_ms=4_000)
        session.flush()
        session.expunge(before)
    alan = api("export", who="Alan")

    def own() -> dict[str, Any]:
        people = alan.get("/api/v1/projects/demo/annotators").json()["items"]
        return {name: value for one in people if one["user_id"] == cast.alan for name, value in one.items()}

    def moved() -> set[str]:
        return {name for name, value in own().items() if value != was[name]}

    with read_session(engine) as session:
        counted = told(session, cast.demo).person(cast.alan)
        assert counted is not None
        assert counted.decides
    was = own()
    assert was["agrees"]["n"] == 40
    with write_session(engine) as session:
        answer_again(session, session.get_one(Project, cast.demo), cast.alan, before, "tie", active_ms=4_000)
    of_repeat, was = moved(), own()
    with write_session(engine) as session:
        answer_gold(session, session.get_one(Project, cast.demo), cast.alan, right=False).active_ms = 4_000
    of_gold, was = moved(), own()
    with write_session(engine) as session:
        judge(session, session.get_one(Project, cast.demo), cast.alan, choice="left", active_ms=4_000)
    assert of_repeat == of_gold == moved() == {"labels", "seconds", "reading", "hasty"}
    page = as_user("Alan").get(f"/projects/demo/annotators/{cast.alan}").text
    assert "These are your own" in page
    assert "They decide" not in page
    assert "These are your own" not in as_user("Alan").get(f"/projects/demo/annotators/{cast.mary}").text


def test_a_large_project_is_counted_by_the_worker_once_labels_came(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(engine, cast)
    monkeypatch.setattr(service, "SMALL", 5)
    monkeypatch.setattr(service, "SLICE", 4)
    read: dict[int, columns.Columns] = {}
    assert not keep_counting(engine, cast.demo, read, 60.0)
    with read_session(engine) as session:
        kept = session.scalars(select(JudgesReport)).one()
        assert told(session, cast.demo).report.labels == 13
        assert told(session, cast.demo).counted_at == kept.counted_at
    with write_session(engine) as session:
        judge(session, session.get_one(Project, cast.demo), cast.mary, choice="tie")
    keep_counting(engine, cast.demo, read, 60.0)
    with write_session(engine) as session:
        assert told(session, cast.demo).report.labels == 13, "not again at once"
        session.scalars(select(JudgesReport)).one().counted_at = utc_now() - timedelta(seconds=31)
    keep_counting(engine, cast.demo, read, 60.0)
    with read_session(engine) as session:
        assert told(session, cast.demo).report.labels == 14
        assert len(read[cast.demo]) == 0, "all of them are young"


def test_labels_that_are_settled_are_read_once(engine: Engine, cast: Cast) -> None:
    furnish(engine, cast)
    with write_session(engine) as session:
        newest = judge(session, session.get_one(Project, cast.demo), cast.mary, choice="tie").id
    with read_session(engine) as session:
        first = columns.read(session, cast.demo)
        assert len(columns.settled(session, cast.demo, first)) == 0
        again = columns.read(session, cast.demo, first.only(first.label < 5))
        assert first.label.tolist() == again.label.tolist()
        assert sorted(map(len, again.said)) == [0, 1]
        assert columns.read(session, cast.demo, most=3).label.tolist() == first.label.tolist()[:3]
        assert newest == first.label[-1]


def test_a_slip_put_right_before_the_question_came_back_is_no_unsteadiness(engine: Engine, cast: Cast) -> None:
    """On one's own work, in the figures of all, and in what the reward model trusts people by."""
    yesterday = last_midnight() - timedelta(hours=1)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(10):
            slip = judge(session, project, cast.mary, choice="right", created_at=yesterday)
            task = session.get_one(Task, slip.task_id)
            meant = judge(session, project, cast.mary, task, choice="left", supersedes=slip, created_at=yesterday)
            answer_again(session, project, cast.mary, meant, "left", created_at=yesterday)
            judge(session, project, cast.mary, task, choice="tie", supersedes=meant)  # after the check: it counts no more
        person = told(session, cast.demo).person(cast.mary)
        assert person is not None
        own = steadiness(session, cast.demo, cast.mary)
        assert own is not None
        assert (person.steady.value, person.steady.n) == (own.value, own.n) == (1.0, 10)
        assert checked(session, cast.demo) == [Checked(cast.mary, gold=False, right=True)] * 10


def test_before_a_worker_has_counted_a_large_project_it_is_told_of_its_newest_labels(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(engine, cast)
    monkeypatch.setattr(service, "SMALL", 3)
    with write_session(engine) as session:
        newest = [judge(session, session.get_one(Project, cast.demo), cast.eve, choice="left").id for _ in range(3)]
        assert columns.newest(session, cast.demo, 3).label.tolist() == newest
        (one,) = told(session, cast.demo).report.people
        assert (one.user_id, one.labels) == (cast.eve, 3)
        assert len(columns.newest(session, cast.demo, 100)) == 16
