"""A month's budgets: what they count, what they hold back, and that it is said once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Announcement, EvaluationCandidate, EvaluationTask, Label, Project, Round, Run, Seat, Task, utc_now
from app.queue import asking
from app.rounds import people_decide, service, triggers
from app.rounds.unattended.budgets import _labels, budgets, holds_back, month_of
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import label_task, make_labels
from trainer.contract.english import english
from trainer.worker.chores import Looks, ask_what_is_due, look_after_projects

Browser = Callable[[str], TestClient]


def used(session: Session, project: Project, now: datetime | None = None) -> dict[str, float]:
    return {one.name: one.used for one in budgets(session, project, now)}


@pytest.mark.parametrize(
    ("now", "begin", "again"),
    [("2026-12-31T23:59:59", "2026-12-01", "2027-01-01"), ("2027-02-01T00:00:00", "2027-02-01", "2027-03-01")],
)
def test_a_month_is_that_of_the_calendar_in_utc(now: str, begin: str, again: str) -> None:
    found = month_of(datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert [one.isoformat() for one in found] == [f"{begin}T00:00:00+00:00", f"{again}T00:00:00+00:00"]


def test_labels_of_this_month_count_once_and_not_beyond_the_budget(session: Session, demo: Project, cast: Cast) -> None:
    demo.month_labels = 4
    make_labels(session, demo, 3, cast.mary)
    first = session.scalars(select(Label).order_by(Label.id)).first()
    assert first is not None
    first.current = False
    label_task(session, session.get_one(Task, first.task_id), cast.mary, version=2, supersedes_id=first.id)
    assert used(session, demo) == {"labels": 3}
    make_labels(session, demo, 3, cast.mary)
    assert used(session, demo) == {"labels": 4}
    _begin, again = month_of(utc_now())
    assert used(session, demo, again) == {"labels": 0}


def test_verdicts_of_evaluations_are_counted_apart(session: Session, demo: Project, cast: Cast) -> None:
    demo.month_evaluation_labels = 10
    make_labels(session, demo, 2, cast.mary)
    evaluation = factories.make_evaluation(session, demo.id, state="open")
    candidate = EvaluationCandidate(evaluation_id=evaluation.id, contender_id=evaluation.baseline_id)
    session.add(candidate)
    session.flush()
    task = factories.make_task(session, demo, purpose="evaluation")
    session.add(EvaluationTask(candidate_id=candidate.id, task_id=task.id, prompt_id=task.prompt_id, place=0, pair=0))
    label_task(session, task, cast.mary)
    assert used(session, demo) == {"evaluation_labels": 1}


def test_hours_are_those_of_training_that_lie_in_the_month(session: Session, demo: Project) -> None:
    demo.month_hours = 10.0
    begin, _again = month_of(utc_now())
    now = begin + timedelta(hours=6)

    def ran(kind: str, start: float, end: float | None) -> Run:
        ended = None if end is None else begin + timedelta(hours=end)
        return factories.make_run(session, demo.id, kind, started_at=begin + timedelta(hours=start), ended_at=ended)

    ran("ppo", -2, 1)  # 1 hour of it
    ran("reward", 1, 1.5)
    ran("preference", 5, None)  # goes on: 1 hour
    ran("sample", 1, 4)
    ran("sft", -5, -4)
    given_back = ran("ppo", 2, None)  # half an hour of it; since then it waits for a worker
    given_back.state, given_back.heartbeat_at = "queued", begin + timedelta(hours=2.5)
    cancelled = ran("ppo", 2, 5)  # likewise, until somebody cancelled it
    cancelled.state, cancelled.heartbeat_at = "cancelled", begin + timedelta(hours=2.5)
    assert used(session, demo, now)["hours"] == pytest.approx(3.5)


def test_a_used_budget_holds_back_automatic_rounds_alone_and_says_until_when(session: Session, demo: Project, cast: Cast) -> None:
    demo.trigger_labels, demo.triggers_on, demo.month_labels = 30, True, 30
    make_labels(session, demo, 30, cast.mary)
    following = triggers.next_trigger(session, demo)
    assert (following.due, following.labels_left) == (None, 0)
    assert following.waits_for.endswith("when the month's budget begins again (used: 30 of 30 labels)")
    _begin, again = month_of(utc_now())
    assert triggers.next_trigger(session, demo, again).due == "labels"
    assert service.start_round(session, demo, "admin", cast.grace).state == "reward"


def ready(engine: Engine, cast: Cast, **values: object) -> None:
    """A project whose next round is due."""
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        demo.trigger_labels, demo.triggers_on = 30, True
        for name, value in values.items():
            setattr(demo, name, value)
        make_labels(session, demo, 30, cast.mary)
        factories.make_prompt(session, demo.id)


def there(engine: Engine, cast: Cast) -> tuple[int, int, int]:
    """Rounds, runs and seats of the project."""
    with read_session(engine) as session:
        each = (select(func.count()).where(table.project_id == cast.demo) for table in (Round, Run, Seat))
        rounds, runs, seats = (session.scalar(one) or 0 for one in each)
        return rounds, runs, seats


def test_a_worker_starts_the_round_that_is_due(engine: Engine, cast: Cast) -> None:
    ready(engine, cast)
    look_after_projects(engine, Looks())
    assert there(engine, cast)[0] == 1


def test_what_was_said_while_a_worker_looked_holds_the_round_back(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round was found due, and then somebody paused, took the triggers away or lowered a budget: it was confirmed to them."""
    said: dict[str, object] = {}

    def meanwhile(engine: Engine, project_id: int, *, asks: bool) -> None:
        with write_session(engine) as session:
            for name, value in said.items():
                setattr(session.get_one(Project, cast.demo), name, value)

    monkeypatch.setattr(people_decide, "look_after", meanwhile)
    ready(engine, cast)
    unsaid = {"paused_at": None, "triggers_on": True, "month_labels": None}
    for now in ({"paused_at": utc_now()}, {"triggers_on": False}, {"month_labels": 5}):
        said.update(unsaid | now)
        with write_session(engine) as session:
            for name, value in unsaid.items():
                setattr(session.get_one(Project, cast.demo), name, value)
        look_after_projects(engine, Looks())
        assert there(engine, cast)[0] == 0, now
    said.update(unsaid)
    look_after_projects(engine, Looks())
    look_after_projects(engine, Looks())
    assert there(engine, cast)[0] == 1


def test_a_months_labels_are_found_without_reading_those_before(session: Session, demo: Project) -> None:
    begin, _again = month_of(utc_now())
    counted = _labels(demo.id, begin).compile(session.connection(), compile_kwargs={"render_postcompile": True})
    plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {counted}", tuple(counted.construct_params().values()))
    assert any("USING INDEX ix_labels_first (project_id=? AND created_at>?)" in row.detail for row in plan)


def test_once_the_labels_are_used_nothing_is_started_or_asked_and_it_is_announced_once(engine: Engine, cast: Cast) -> None:
    ready(engine, cast, month_labels=30, queue_low_mark=1000)
    with write_session(engine) as session:
        policy_id = session.get_one(Project, cast.demo).policy_id
        assert policy_id is not None
        prompt = factories.make_prompt(session, cast.demo)
        for _ in range(2):
            factories.make_generation(session, prompt, policy_id)
        asking.note_due(session, cast.demo)
    before = there(engine, cast)
    for _ in range(3):
        ask_what_is_due(engine, Looks())
        look_after_projects(engine, Looks())
    assert there(engine, cast) == before
    with read_session(engine) as session:
        [told] = session.scalars(select(Announcement)).all()
    _begin, again = month_of(utc_now())
    assert (told.event, told.data["budget"], told.data["begins_again"]) == ("budget.reached", "labels", again.isoformat())
    day = again.date().isoformat()
    assert english(told.message) == f"The month's budget of labels (30) is used. It begins again on {day}."
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).month_labels = 31
    ask_what_is_due(engine, Looks())
    look_after_projects(engine, Looks())
    rounds, runs, seats = there(engine, cast)
    assert (rounds, runs > before[1] + 1) == (1, True), "a budget that was raised lets rounds start again"
    assert seats > before[2], "and what was due stayed due"


def test_of_an_evaluation_nothing_more_is_asked_where_its_verdicts_are_used(
    engine: Engine, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def look_after(engine: Engine, project_id: int, *, asks: bool) -> None:
        if project_id == cast.demo:
            asked.append(asks)

    monkeypatch.setattr(people_decide, "look_after", look_after)
    ready(engine, cast, month_evaluation_labels=1)
    look_after_projects(engine, Looks())
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        demo.month_evaluation_labels, demo.month_labels = None, 30
        assert holds_back(budgets(session, demo)) is not None
    look_after_projects(engine, Looks())
    assert asked == [True, False]


def test_the_overview_says_what_is_used_and_when_it_begins_again(as_user: Browser, engine: Engine, cast: Cast) -> None:
    ready(engine, cast, month_labels=30, month_hours=5.0)
    page = as_user("Grace").get("/projects/demo").text
    assert "A month's budget is used: 30 of 30 labels" in page.replace("&#39;", "'")
    assert "It begins again on" in page
    assert "People are asked nothing new." in page
    assert "0 of 5 h of training" in page


def test_they_are_set_on_the_page_and_by_a_program(as_user: Browser, api: Callable[..., TestClient], cast: Cast) -> None:
    program = api("admin", who="Grace")
    changed = program.patch("/api/v1/projects/demo", json={"budgets": {"labels": 500, "hours": 12.5}}).json()
    assert changed["budgets"] == {"labels": 500, "evaluation_labels": None, "hours": 12.5}
    page = as_user("Grace").get("/projects/demo/settings").text
    assert 'name="month_labels" type="number" value="500"' in page
    assert program.patch("/api/v1/projects/demo", json={"budgets": {"hours": None}}).json()["budgets"]["hours"] is None
    assert program.patch("/api/v1/projects/demo", json={"budgets": {"labels": 0}}).status_code == 422
    shown = program.get("/api/v1/projects/demo/unattended").json()
    assert [(one["name"], one["used"], one["most"]) for one in shown["budgets"]] == [("labels", 0, 500)]
