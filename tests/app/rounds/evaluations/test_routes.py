"""Evaluations as pages: asked for with a model outside, told, ended; and what is said while a month's budget holds one back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.contenders.service import contender_of, name_outside
from app.database.engine import read_session, write_session
from app.models import Checkpoint, Evaluation, EvaluationCandidate, Project, Run
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.judged import Judged, begin

As = Callable[[str], TestClient]
PAGE = "/projects/demo/evaluations"


@pytest.fixture
def outside(engine: Engine, cast: Cast) -> tuple[int, int]:
    """Two contenders of a project with held-out prompts: its policy, and a model outside."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for _ in range(4):
            factories.make_prompt(session, project.id, split="holdout")
        policy = contender_of(session, session.get_one(Checkpoint, project.policy_id))
        return policy.id, name_outside(session, project, factories.make_outside(session).id, cast.ada).id


def test_one_with_a_model_outside_is_asked_for_on_the_page(
    engine: Engine, cast: Cast, as_user: As, outside: tuple[int, int]
) -> None:
    policy, model = outside
    ada = as_user("Ada")
    assert f'value="{model}"' in ada.get(PAGE).text
    begun = ada.post(PAGE, data={"baseline": policy, "candidates": [model]})
    assert begun.status_code == 303
    page = ada.get(begun.headers["location"]).text
    assert "<dt>Compared</dt><dd>GPT</dd>" in page
    assert "nothing is promoted by it" in page
    with read_session(engine) as session:
        runs = session.scalars(select(Run).where(Run.project_id == cast.demo, Run.state == "queued").order_by(Run.id)).all()
        assert [(run.kind, run.inputs["split"]) for run in runs] == [("sample", "holdout"), ("ask", "holdout")]
        assert runs[1].inputs["contender"] == model
    assert "GPT with Base model" in ada.get(PAGE).text
    again = ada.post(PAGE, data={"baseline": policy, "candidates": [model]})
    assert (again.status_code, "one at a time" in again.text) == (409, True)
    assert ada.post(f"{begun.headers['location']}/cancel").status_code == 303
    assert "ended before" in ada.get(PAGE).text
    assert "End the evaluation" not in ada.get(begun.headers["location"]).text


def test_what_cannot_be_compared_is_refused_on_the_page(as_user: As, outside: tuple[int, int]) -> None:
    policy, model = outside
    ada = as_user("Ada")
    for sent, words in (
        ({"baseline": policy}, "Choose at least one contender"),
        ({"baseline": policy, "candidates": [policy]}, "stands in an evaluation once"),
        ({"baseline": policy, "candidates": [model + 100]}, "no contender of this project"),
    ):
        refused = ada.post(PAGE, data=sent)
        assert (refused.status_code, words in refused.text) == (422, True)


def test_who_annotates_sees_none_and_who_reviews_starts_none(
    engine: Engine, cast: Cast, as_user: As, outside: tuple[int, int]
) -> None:
    policy, model = outside
    with write_session(engine) as session:
        evaluation = factories.make_evaluation(session, cast.demo).id
    assert as_user("Mary").get(PAGE).status_code in (403, 404)
    assert as_user("Mary").get(f"/evaluations/{evaluation}").status_code in (403, 404)
    assert as_user("Alan").get(f"/evaluations/{evaluation}").status_code == 200
    assert "Ask people" not in as_user("Alan").get(PAGE).text
    assert as_user("Alan").post(PAGE, data={"baseline": policy, "candidates": [model]}).status_code == 403
    assert as_user("Alan").post(f"/evaluations/{evaluation}/cancel").status_code == 403


@pytest.fixture
def judged(engine: Engine, cast: Cast) -> Judged:
    found = begin(engine, prompts=10, train=2)
    with write_session(engine) as session:
        factories.make_membership(session, cast.grace, found.project, "admin")
    return found


def test_its_page_and_its_rounds_say_that_it_waits_for_the_next_months_budget(
    engine: Engine, as_user: As, judged: Judged
) -> None:
    grace = as_user("Grace")
    places = (f"/rounds/{judged.round}", f"/evaluations/{judged.evaluation}")
    assert not any("budget is used" in grace.get(place).text for place in places)
    with write_session(engine) as session:
        session.get_one(Project, judged.project).month_labels = 30
    for place in places:
        page = grace.get(place).text
        assert "budget is used (30 of 30 labels): people are asked nothing new for it until" in page
    with write_session(engine) as session:
        project = session.get_one(Project, judged.project)
        project.month_labels, project.month_evaluation_labels = None, 1
        project.month_hours = 0.0
    assert not any("budget is used" in grace.get(place).text for place in places), "hours are of training"


def test_an_evaluation_of_a_round_leads_to_it_and_is_ended_there(engine: Engine, as_user: As, judged: Judged) -> None:
    page = as_user("Grace").get(f"/evaluations/{judged.evaluation}").text
    assert f'<a href="/rounds/{judged.round}">round 1</a>' in page
    assert "End the evaluation" not in page
    assert as_user("Grace").post(f"/evaluations/{judged.evaluation}/cancel").status_code == 409


def test_what_a_spent_budget_did_not_show_is_promoted_by_hand_with_a_reason_only(
    engine: Engine, as_user: As, judged: Judged
) -> None:
    figures = {"mean": 0.55, "lower": 0.4, "upper": 0.7, "verdicts": 40, "people": 3, "units": 10, "saved": 0}
    with write_session(engine) as session:
        mine = select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == judged.evaluation)
        candidate = session.scalars(mine.where(EvaluationCandidate.promotable)).one()
        candidate.standing = figures | {"promotes": False, "rejects": True, "spent": True}
        evaluation = session.get_one(Evaluation, judged.evaluation)
        evaluation.state, evaluation.decision = "decided", "rejected"
    grace = as_user("Grace")
    assert "people did not show that they prefer it" in grace.get(f"/rounds/{judged.round}").text
    refused = grace.post(f"/checkpoints/{judged.candidate}/promotion", data={"confirm": "yes"})
    assert (refused.status_code, "The budget was spent" in refused.text) == (409, True)
    reason = {"confirm": "yes", "reason": "It is shorter, and no worse."}
    assert grace.post(f"/checkpoints/{judged.candidate}/promotion", data=reason).status_code == 303
