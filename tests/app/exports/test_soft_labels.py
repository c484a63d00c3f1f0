"""What everybody said of a task stands beside each verdict; where a reviewer settled it, theirs is the one to train on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, select

from app.database.engine import write_session
from app.labels.withdraw import withdraw
from app.models import Exclusion, Label, Project, utc_now
from app.quality.adjudication import service
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.exports.test_service import exported, rows
from tests.app.labels.test_record import say
from tests.app.quality.adjudication.differing import open_dispute


def test_the_share_of_each_answer_is_that_of_the_people_whatever_side_they_saw(
    engine: Engine, project: Project, cast: Cast
) -> None:
    with write_session(engine) as session:
        task = factories.make_task(session, project)
        judge(session, project, cast.mary, task, choice="left")
        judge(session, project, cast.alan, task, choice="right", swapped=True)
        judge(session, project, cast.grace, task, choice="tie")
        judge(session, project, cast.ada, task, choice="right")
    chose_first, second, third = rows(engine, project)
    said = {"n": 4, "chosen": 0.5, "rejected": 0.25, "tie": 0.25, "both_bad": 0.0}
    assert chose_first["soft_label"] == second["soft_label"] == said
    assert third["soft_label"] == said | {"chosen": 0.25, "rejected": 0.5}
    shown = rows(engine, project, format="labels")
    assert [row["soft_label"]["left"] for row in shown] == [0.5, 0.25, 0.5, 0.5]
    assert {row["soft_label"]["5"] for row in shown} == {0.0}


def test_of_ratings_it_is_the_share_of_each_number(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        task = factories.make_task(session, project, "rating")
        for person, overall in ((cast.mary, 2), (cast.alan, 2), (cast.grace, 5)):
            judge(session, project, person, task, overall=overall)
    found = rows(engine, project, format="ratings")
    assert [row["soft_label"] for row in found] == [{"n": 3, "1": 0.0, "2": 0.666667, "3": 0.0, "4": 0.0, "5": 0.333333}] * 3
    header, line, *_ = exported(engine, project, format="ratings", as_="csv").splitlines()
    cells = dict(zip(header.split(","), line.split(","), strict=False))
    assert (cells["soft_label_n"], cells["soft_label_2"], cells["soft_label_5"]) == ("3", "0.666667", "0.333333")


def test_whose_labels_train_nothing_is_in_no_share(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        task = factories.make_task(session, project)
        judge(session, project, cast.mary, task, choice="left")
        judge(session, project, cast.alan, task, choice="tie")
        session.add(Exclusion(project_id=project.id, user_id=cast.alan))
    (row,) = rows(engine, project)
    assert (row["soft_label"]["n"], row["soft_label"]["chosen"]) == (1, 1.0)


def test_where_a_reviewer_settled_it_theirs_is_the_only_row_and_the_others_are_kept(
    engine: Engine, project: Project, cast: Cast
) -> None:
    dispute_id, task_id = open_dispute(engine, cast.demo, {cast.mary: {"choice": "tie"}, cast.grace: {"choice": "both_bad"}})
    before: list[dict[str, Any]] = rows(engine, project, format="kto")
    assert len(before) == 2, "both answers are bad, said one"
    with write_session(engine) as session:
        own = session.get_one(Project, cast.demo)
        service.settle(session, own, dispute_id, cast.alan, say("left", comment="So."), interface="test")
    (row,) = rows(engine, project, min_agreement=1.0)
    assert row["soft_label"] == {"n": 2, "chosen": 0.0, "rejected": 0.0, "tie": 0.5, "both_bad": 0.5}
    assert [one["label"] for one in rows(engine, project, format="kto")] == [True, False]
    kept = rows(engine, project, format="labels")
    assert [(one["served_reason"], one["overruled"]) for one in kept] == [("random", True), ("random", True), ("review", False)]
    with write_session(engine) as session:
        withdraw(session.connection(), task_id, cast.alan, say().client_id, interface="test", now=utc_now())
        assert session.scalars(select(Label.overruled).where(Label.current)).all() == [False, False]
    assert rows(engine, project, format="kto") == before
