"""While people judge blind, no other door shows a reviewer, who may be asked, who wrote what."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import Evaluation, Project, utc_now
from app.rounds import people_decide, service
from tests.app import factories
from tests.app.evaluation.judged import begin

SignIn = Callable[[int], TestClient]


def test_runs_and_answers_show_nothing_of_prompts_that_are_judged(engine: Engine, client: TestClient, sign_in: SignIn) -> None:
    judged = begin(engine, answers=lambda writer, number: f"{writer} says secretword {number}")
    people_decide.look_after(engine, judged.project)
    with write_session(engine) as session:
        reviewer, admin = (factories.make_user(session, name).id for name in ("Rev", "Adm"))
        factories.make_membership(session, reviewer, judged.project, "reviewer")
        factories.make_membership(session, admin, judged.project, "admin")
        slug = session.get_one(Project, judged.project).slug
        runs = [run.id for run in service.runs_of_round(session, judged.round) if run.kind == "sample"]
        keys = [factories.make_key(session, who, "export", "admin") for who in (reviewer, admin)]
    assert runs
    client.cookies.clear()

    def told(key: str) -> int:
        url = f"/api/v1/projects/{slug}/generations?split=holdout&limit=500"
        return client.get(url, headers={"authorization": f"Bearer {key}"}).text.count("secretword")

    def shown() -> int:
        return sum(sign_in(reviewer).get(f"/runs/{run}").text.count("secretword") for run in runs)

    assert told(keys[0]) == 0
    assert told(keys[1]) > 0  # an admin may take everything along
    assert shown() == 0
    with write_session(engine) as session:
        evaluation = session.get_one(Evaluation, judged.evaluation)
        evaluation.state, evaluation.ended_at = "cancelled", utc_now()
    client.cookies.clear()
    assert told(keys[0]) > 0
    assert shown() > 0
    with read_session(engine) as session:
        assert session.get_one(Evaluation, judged.evaluation).state == "cancelled"
