"""Active time, from signs of work: what lies close together counts whole, a break as far as somebody was seen at the task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Invalid
from app.labels.verdict import Verdict
from app.models import Project, Skip, utc_now
from app.quality.adjudication.service import settle
from app.quality.hours.service import Sign, by_day, hours
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from tests.app.quality.adjudication.differing import open_dispute

As = Callable[[str], TestClient]
TEN = datetime(2026, 3, 31, 10).astimezone()
DAY = TEN.date()


def at(minutes: float, active_s: float | None = None, judged: bool = True) -> Sign:
    return Sign(TEN + timedelta(minutes=minutes), None if active_s is None else timedelta(seconds=active_s), judged)


@pytest.mark.parametrize(
    ("signs", "minutes"),
    [
        ([at(0, judged=False), at(2), at(6)], 6.0),  # a claim begins it
        ([at(0, judged=False), at(2, 30), at(62, 90)], 3.5),  # an hour's break, then 90 s at the task
        ([at(0, judged=False), at(8, 420)], 7.0),  # a long answer, read for seven minutes
        ([at(0, judged=False), at(60, judged=False), at(61)], 1.0),  # back from a break: it begins anew
        ([at(0), at(60)], 10.0),  # a program's labels, of which nothing more is known
        ([at(3), at(0, judged=False)], 3.0),  # in whatever order they are read
        ([at(0, judged=False), at(60, judged=False), at(60, 90)], 1.5),  # taken again as it was answered
        ([], 0.0),
    ],
)
def test_what_lies_close_together_counts_whole_and_a_break_does_not(signs: list[Sign], minutes: float) -> None:
    found = by_day(signs)
    assert sum((active for active, _labels in found.values()), timedelta()) == timedelta(minutes=minutes)


def test_midnight_parts_days() -> None:
    late, early = at(0, judged=False)._replace(at=datetime(2026, 3, 31, 23, 58).astimezone()), at(14 * 60 + 1)
    assert by_day([late, early]) == {DAY: (timedelta(), 0), date(2026, 4, 1): (timedelta(minutes=3), 1)}


def work(engine: Engine, cast: Cast) -> None:
    """Mary judges twice, nine seconds for each and a minute between; Alan passes one over."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for minutes in (0, 1):
            judge(session, project, cast.mary, at=TEN + timedelta(minutes=minutes))
        task = factories.make_task(session, project)
        session.add(Skip(task_id=task.id, annotator_id=cast.alan, reason="upsetting", created_at=TEN))


def test_who_passes_a_task_over_may_answer_it_after_all(engine: Engine, cast: Cast, api: Callable[..., TestClient]) -> None:
    with write_session(engine) as session:
        task_id = factories.make_task(session, session.get_one(Project, cast.demo)).id
    mary, v1 = api("annotate", who="Mary"), "/api/v1"
    assert mary.post(f"{v1}/projects/demo/tasks/next").json()["id"] == task_id
    assert mary.post(f"{v1}/tasks/{task_id}/skip", json={"reason": "too long"}).status_code == 204
    said = {"client_id": str(uuid4()), "choice": "left", "active_ms": 90_000}
    assert mary.post(f"{v1}/tasks/{task_id}/label", json=said).status_code == 201
    reply = api("admin", who="Grace").get(f"{v1}/projects/demo/hours")
    assert reply.status_code == 200
    assert [(one["name"], one["labels"]) for one in reply.json()["items"]] == [("Mary", 1)]


def test_each_persons_day(engine: Engine, cast: Cast) -> None:
    work(engine, cast)
    with read_session(engine) as session:
        found = hours(session, cast.demo, DAY, DAY)
        assert [(one.name, one.day, one.active.total_seconds(), one.labels) for one in found] == [
            ("Alan", DAY, 0, 0),
            ("Mary", DAY, 69, 2),
        ]
        assert hours(session, cast.demo, DAY - timedelta(days=2), DAY - timedelta(days=1)) == []
        assert hours(session, cast.other, DAY, DAY) == []
        for since, until in ((DAY, DAY - timedelta(days=1)), (DAY - timedelta(days=400), DAY)):
            with pytest.raises(Invalid):
                hours(session, cast.demo, since, until)


def test_admins_see_and_download_them(engine: Engine, cast: Cast, as_user: As, api: Callable[..., TestClient]) -> None:
    work(engine, cast)
    grace, asked = as_user("Grace"), "from=2026-03-01&to=2026-03-31"
    page = grace.get(f"/projects/demo/hours?{asked}")
    assert page.status_code == 200
    assert "Mary" in page.text
    lines = grace.get(f"/projects/demo/hours/file?{asked}").content.decode("utf-8-sig").splitlines()
    assert lines[0] == "user_id,name,day,active_minutes,labels"
    assert f"{cast.mary},Mary,2026-03-31,1.1,2" in lines
    reply = api("admin", who="Grace").get("/api/v1/projects/demo/hours?until=2026-03-31").json()
    assert [(one["name"], one["minutes"], one["labels"]) for one in reply["items"]] == [("Alan", 0.0, 0), ("Mary", 1.1, 2)]
    assert as_user("reviewer").get("/projects/demo/hours").status_code == 403
    assert "Nobody worked" in grace.get("/projects/demo/hours?from=2020-01-01&to=2020-01-31").text


@pytest.mark.parametrize(("first", "last"), [("0001-01-01", "0001-01-02"), ("9999-12-30", "9999-12-31")])
def test_days_that_no_clock_shows_are_refused_with_a_sentence(
    as_user: As, api: Callable[..., TestClient], first: str, last: str
) -> None:
    replies = [
        api("admin", who="Grace").get(f"/api/v1/projects/demo/hours?since={first}&until={last}"),
        as_user("Grace").get(f"/projects/demo/hours?from={first}&to={last}"),
        as_user("Grace").get(f"/projects/demo/hours/file?from={first}&to={last}"),
    ]
    for reply in replies:
        assert reply.status_code == 422
        assert "from 2000 to 2999" in reply.text


def test_a_reviewer_who_settles_what_people_differ_on_worked_as_long_as_they_were_seen_at_it(engine: Engine, cast: Cast) -> None:
    dispute_id, _task_id = open_dispute(engine, cast.demo, {cast.mary: {"choice": "tie"}, cast.grace: {"choice": "both_bad"}})
    verdict = Verdict(str(uuid4()), choice="left", active_ms=420_000)
    before = utc_now().astimezone().date()
    with write_session(engine) as session:
        settle(session, session.get_one(Project, cast.demo), dispute_id, cast.alan, verdict, interface="test")
    with read_session(engine) as session:
        found = hours(session, cast.demo, before, before + timedelta(days=1))
    assert [(one.name, one.minutes, one.labels) for one in found if one.user_id == cast.alan] == [("Alan", 7.0, 1)]
