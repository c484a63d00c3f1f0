"""Contenders, evaluations and tasks of given answers over the API."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.contenders.service import contender_of
from app.database.engine import read_session, write_session
from app.models import Checkpoint, Contender, Evaluation, Generation, Project, Prompt, Run, Task
from app.rounds import people_decide
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.judged import Judged, begin, taste, work

Api = Callable[..., TestClient]
V1 = "/api/v1"


def test_an_evaluation_tells_contenders_verdicts_interval_boundary_and_decision(engine: Engine, cast: Cast, api: Api) -> None:
    judged = begin(engine)
    work(engine, judged, taste(0.9))
    found = api("export", who="Ada").get(f"{V1}/evaluations/{judged.evaluation}").json()
    assert (found["state"], found["decision"], found["boundary"]) == ("decided", "promoted", 0.5)
    mine, beside = found["candidates"]
    assert (mine["contender"]["kind"], mine["promotable"]) == ("policy", True)
    assert (beside["contender"]["kind"], beside["contender"]["best_of"], beside["promotable"]) == ("best_of", 4, False)
    assert found["winner_id"] == mine["contender"]["id"]
    assert mine["standing"]["lower"] >= 0.5
    assert mine["words"].startswith(mine["contender"]["name"])
    assert found["reason"].startswith("It wins")
    assert [one["rate"] for one in found["expected"]] == [0.55, 0.6, 0.7]
    round_ = api("export", who="Ada").get(f"{V1}/rounds/{judged.round}").json()
    assert round_["evaluation_id"] == judged.evaluation


def test_imported_answers_meet_the_policy_and_are_judged_blind_outside_of_rounds(engine: Engine, cast: Cast, api: Api) -> None:
    ada = api("admin", who="Ada")
    named = ada.post(f"{V1}/projects/demo/contenders", json={"name": "gpt-x"})
    assert (named.status_code, named.json()["kind"], named.json()["name"]) == (201, "imported", "gpt-x")
    again = ada.post(f"{V1}/projects/demo/contenders", json={"name": "gpt-x"})
    assert again.json()["id"] == named.json()["id"]
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.flags, project.evaluation_promotes = [], True
        theirs = session.get_one(Contender, named.json()["id"])
        for number in range(30):
            prompt = factories.make_prompt(session, project.id, split="holdout")
            for answer in range(4):
                factories.bring_in(session, prompt, theirs, f"new {number} {answer}", answer)
        policy = project.policy_id or 0
    started = ada.post(f"{V1}/projects/demo/evaluations", json={"candidates": [named.json()["id"]]})
    assert (started.status_code, started.json()["state"]) == (202, "answering")
    assert ada.post(f"{V1}/projects/demo/evaluations", json={"candidates": [named.json()["id"]]}).status_code == 409
    people_decide.look_after(engine, cast.demo)
    with write_session(engine) as session:
        assert session.get_one(Evaluation, started.json()["id"]).state == "answering", "the policy has yet to answer"
        run = session.scalars(select(Run).where(Run.project_id == cast.demo, Run.state == "queued")).one()
        assert (run.inputs["checkpoint"], len(run.inputs["prompt_ids"])) == (policy, 30)
        for prompt in session.scalars(select(Prompt).where(Prompt.project_id == cast.demo)).all():
            for number in range(4):
                factories.make_generation(session, prompt, policy, f"old {number}", run_id=run.id, number=number)
        run.state = "done"
    people_decide.look_after(engine, cast.demo)
    judged = Judged(cast.demo, 0, started.json()["id"], [cast.mary, cast.grace], 0)
    judge_until_decided(engine, judged)
    found = ada.get(f"{V1}/evaluations/{judged.evaluation}").json()
    assert (found["decision"], found["round_id"], found["winner_id"]) == ("promoted", None, named.json()["id"])
    with read_session(engine) as session:
        assert session.get_one(Project, cast.demo).policy_id == policy, "nothing is promoted by it"


def test_an_evaluation_outside_of_rounds_can_be_cancelled_and_another_begun(engine: Engine, cast: Cast, api: Api) -> None:
    ada = api("admin", who="Ada")
    named = ada.post(f"{V1}/projects/demo/contenders", json={"name": "gpt-x"}).json()["id"]
    with write_session(engine) as session:
        prompt = factories.make_prompt(session, cast.demo, split="holdout")
        factories.bring_in(session, prompt, session.get_one(Contender, named), "theirs")
    started = ada.post(f"{V1}/projects/demo/evaluations", json={"candidates": [named]}).json()["id"]
    cancelled = ada.post(f"{V1}/evaluations/{started}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert ada.post(f"{V1}/evaluations/{started}/cancel").status_code == 409
    assert ada.post(f"{V1}/projects/demo/evaluations", json={"candidates": [named]}).status_code == 202
    judged = begin(engine)
    with write_session(engine) as session:
        factories.make_membership(session, cast.ada, judged.project, "admin")
    assert ada.post(f"{V1}/evaluations/{judged.evaluation}/cancel").status_code == 409, "its round ends it"


def judge_until_decided(engine: Engine, judged: Judged) -> None:
    from tests.app.evaluation.judged import judge_next

    prefers = taste(1.0)
    for _ in range(200):
        people_decide.look_after(engine, judged.project)
        with read_session(engine) as session:
            if session.get_one(Evaluation, judged.evaluation).state != "open":
                return
        assert any(judge_next(engine, judged.project, person, prefers) for person in judged.people)
    raise AssertionError("never decided")


def test_contenders_are_listed_and_named_by_what_they_are(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        policy = session.scalars(select(Checkpoint).where(Checkpoint.project_id == cast.demo)).one()
        reward = factories.make_checkpoint(session, cast.demo, kind="reward", parent_id=policy.id)
        foreign = factories.make_checkpoint(session, cast.demo, kind="reward")
        contender_of(session, policy)
        ids = policy.id, reward.id, foreign.id
    ada = api("admin", "export", who="Ada")
    made = ada.post(f"{V1}/projects/demo/contenders", json={"checkpoint": ids[0], "best_of": 4, "reward": ids[1]}).json()
    assert (made["kind"], made["name"]) == ("best_of", "Base model, best of 4")
    listed = ada.get(f"{V1}/projects/demo/contenders").json()["items"]
    assert [one["kind"] for one in listed] == ["best_of", "policy"]
    for wrong in ({}, {"checkpoint": ids[0], "best_of": 4}, {"checkpoint": ids[0], "best_of": 4, "reward": ids[2]}):
        assert ada.post(f"{V1}/projects/demo/contenders", json=wrong).status_code == 422, wrong
    assert api("annotate", who="Mary").get(f"{V1}/projects/demo/contenders").status_code == 403


def test_given_answers_are_asked_about_whoever_wrote_them(engine: Engine, cast: Cast, api: Api) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        prompt, other = (factories.make_prompt(session, project.id) for _ in range(2))
        ours = factories.make_generation(session, prompt, project.policy_id or 0, "ours").id
        theirs = factories.bring_in(session, prompt, factories.make_stranger(session, project.id), "theirs").id
        twin = factories.make_generation(session, prompt, project.policy_id or 0, "ours").id
        elsewhere = factories.make_generation(session, other, project.policy_id or 0, "else").id
    ada = api("admin", who="Ada")
    items = [{"first": ours, "second": theirs}, {"first": theirs}]
    made = ada.post(f"{V1}/projects/demo/tasks", json={"items": items})
    assert made.status_code == 201
    with read_session(engine) as session:
        tasks = [session.get_one(Task, one) for one in made.json()["task_ids"]]
        assert {task.kind for task in tasks} == {"comparison", "rating"}
        assert {task.purpose for task in tasks} == {"train"}
    for pair in ({"first": ours, "second": twin}, {"first": ours, "second": elsewhere}, {"first": 999_999}):
        refused = ada.post(f"{V1}/projects/demo/tasks", json={"items": [items[1], pair]})
        assert refused.status_code == 422
        assert [one["field"] for one in refused.json()["errors"]] == ["items.1"]
    mary = api("annotate", who="Mary")
    task = mary.post(f"{V1}/projects/demo/tasks/next").json()
    answer = {"choice": "tie"} if task["kind"] == "comparison" else {"overall": 3}
    given = mary.post(f"{V1}/tasks/{task['id']}/label", json={"client_id": str(uuid.uuid4()), **answer})
    assert given.status_code == 201
    with read_session(engine) as session:
        assert session.scalar(select(Generation.token_ids).where(Generation.id == theirs)) is None
