"""My work: one's own figures, agreement without a way to anybody's verdict, and what the labels did."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.contenders.service import contender_of
from app.database.engine import write_session
from app.labels.record import record_label
from app.labels.verdict import Verdict
from app.models import Checkpoint, Evaluation, Label, Project, Round, Task, last_midnight, utc_now
from app.overview.my_work import Agreement, agreements, work_of
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.labels.judged import judge
from trainer.contract.intervals import wilson
from trainer.contract.messages import Message

AsUser = Callable[[str], TestClient]
Api = Callable[..., TestClient]


def together(session: Session, cast: Cast, kind: str = "comparison", tasks: int = 10) -> list[Task]:
    """Tasks that two people may judge."""
    project = session.get_one(Project, cast.demo)
    return [factories.make_task(session, project, kind, seats=2) for _ in range(tasks)]


def chosen(session: Session, project: Project, task: Task, who: int, generation_id: int) -> None:
    """This person prefers that answer, on whichever side they see it."""
    stored = judge(session, project, who, task=task)
    label = session.get_one(Label, stored.id)
    label.choice = "left" if label.left_generation_id == generation_id else "right"
    session.flush()


def test_today_is_counted_since_midnight_and_corrections_are_no_new_labels(
    engine: Engine, cast: Cast, settings: Settings
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        now = max(utc_now(), last_midnight() + timedelta(minutes=1))
        for active_ms in (4_000, 6_000, 20_000):
            judge(session, project, cast.mary, active_ms=active_ms, at=now)
        judge(session, project, cast.mary, active_ms=1_000, at=last_midnight() - timedelta(hours=1))
        judge(session, project, cast.alan, active_ms=1_000, at=now)

        work = work_of(session, project, cast.mary, settings.runs)

        assert (work.today, work.all_time, work.today_s) == (3, 4, 30.0)
        assert work.per_hour == pytest.approx(360.0)
        assert [labels for _day, labels in work.days] == [3, 1, 0, 0, 0, 0, 0]
        assert [(speed.kind, speed.median_s, speed.timed) for speed in work.speeds] == [
            ("comparison", 5.0, 4),
            ("rating", None, 0),
            ("ranking", None, 0),
        ]


def test_agreement_looks_at_the_answer_chosen_not_at_its_side(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number, task in enumerate(together(session, cast, tasks=20)):
            other = task.second_generation_id if number < 5 else task.first_generation_id
            chosen(session, project, task, cast.mary, task.first_generation_id)
            chosen(session, project, task, cast.alan, other or 0)
        sides = {label.left_generation_id < (label.right_generation_id or 0) for label in session.query(Label)}
        assert sides == {True, False}, "people see different sides"

        comparison, rating = agreements(session, cast.demo, cast.mary)

        assert comparison == Agreement("comparison", 20, 0.75, *wilson(0.75, 20))
        assert rating == Agreement("rating", 0, None, None, None)


def test_nobody_finds_out_anothers_verdict_by_correcting_theirs(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for task in together(session, cast, tasks=20):
            chosen(session, project, task, cast.mary, task.first_generation_id)
            chosen(session, project, task, cast.alan, task.first_generation_id)
        before = agreements(session, cast.demo, cast.mary)
        mine = session.query(Label).filter_by(annotator_id=cast.mary, task_id=task.id).one()
        other = "right" if mine.choice == "left" else "left"
        verdict = Verdict(str(uuid.uuid4()), choice=other)
        record_label(session.connection(), task.id, cast.mary, verdict, interface="test", now=utc_now())
        assert session.query(Label).filter_by(annotator_id=cast.mary, task_id=task.id).count() == 2
        assert agreements(session, cast.demo, cast.mary) == before


def test_ratings_agree_within_one_step_and_ties_with_ties(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number, task in enumerate(together(session, cast, "rating")):
            judge(session, project, cast.mary, "rating", task=task, overall=3)
            judge(session, project, cast.alan, "rating", task=task, overall=4 if number < 6 else 1)
        for number, task in enumerate(together(session, cast)):
            judge(session, project, cast.mary, task=task, choice="tie")
            judge(session, project, cast.alan, task=task, choice="tie" if number < 7 else "both_bad")
        comparison, rating = agreements(session, cast.demo, cast.mary)
        assert comparison.share == pytest.approx(0.7)
        assert rating.share == pytest.approx(0.6)


def test_too_few_tasks_tell_nothing_of_anybody(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for task in together(session, cast, tasks=9):
            judge(session, project, cast.mary, task=task, choice="tie")
            judge(session, project, cast.alan, task=task, choice="tie")
        assert agreements(session, cast.demo, cast.mary)[0] == Agreement("comparison", 9, None, None, None)
    assert "so far 9 tasks" in as_user("Mary").get("/projects/demo/work").text


def test_a_round_says_how_many_of_mine_it_learned_from(
    engine: Engine, cast: Cast, settings: Settings, as_user: AsUser, api: Api
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        mine = [judge(session, project, cast.mary).id for _ in range(3)]
        theirs = judge(session, project, cast.alan).id
        round_ = Round(project_id=project.id, number=4, trigger="admin", label_count=3, start_policy_id=project.policy_id or 0)
        round_.state, round_.decision = "done", "promoted"
        session.add(round_)
        session.flush()
        run = factories.make_run(session, project.id, "reward", round_id=round_.id, label_digest="x", label_count=3)
        asked = {"budget": 40, "error": 0.05, "flag_margin": 0.1, "overlap": 1, "pairs": 1, "prompt_ids": []}
        baseline = contender_of(session, session.get_one(Checkpoint, project.policy_id))
        evaluation = Evaluation(project_id=project.id, round_id=round_.id, baseline_id=baseline.id, **asked)
        said = {"accuracy": 0.58, "low": 0.51, "high": 0.65, "count": 143, "people": 6}
        evaluation.reason = Message("people_prefer_it", **said)
        session.add(evaluation)
        folder, round_id = settings.runs / str(run.id), round_.id
    folder.mkdir(parents=True)
    rows = [{"label_id": label_id, "annotator": "annotator-1"} for label_id in (*mine[:2], theirs)]
    (folder / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    page = as_user("Mary").get("/projects/demo/work").text
    words = " ".join(page.split())
    assert "Round 4 learned from <strong>2</strong> of yours, among 3. Its model answers now." in words
    assert "an hour of judging" not in page, "of three labels"
    learned = api("annotate", who="Mary").get("/api/v1/projects/demo/work").json()["learned"]
    known = {"round_id": round_id, "number": 4, "mine": 2, "labels": 3, "decision": "promoted"}
    assert learned == [known | {"judged": None, "coded_judged": None}], "while people are asked nobody is told"
    assert "No round has learned" not in page
    assert "It wins" not in page

    with write_session(engine) as session:
        asked_of = session.query(Evaluation).one()
        asked_of.state, asked_of.decision, asked_of.winner_id = "decided", "promoted", asked_of.baseline_id
    assert "It wins 58% (51% to 65%)." in as_user("Mary").get("/projects/demo/work").text
    learned = api("annotate", who="Mary").get("/api/v1/projects/demo/work").json()["learned"]
    assert learned[0]["coded_judged"]["code"] == "people_prefer_it"


def test_nobody_reads_another_persons_work(engine: Engine, cast: Cast, as_user: AsUser) -> None:
    with write_session(engine) as session:
        judge(session, session.get_one(Project, cast.demo), cast.mary)
    assert "Nothing judged yet" in as_user("Alan").get("/projects/demo/work").text
