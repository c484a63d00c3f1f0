"""Promoting asks once more where the score did not rise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.models import AuditEntry, Checkpoint, Generation, Project, Prompt, Run, Seat, Task, utc_now
from app.queue import make_tasks
from app.rounds import service
from app.rounds.promotion import promote
from app.runs import refill
from tests.app import factories
from tests.app.conftest import Cast
from trainer.worker import results

V1 = "/api/v1"


@pytest.fixture
def candidate(engine: Engine, cast: Cast) -> int:
    """A policy whose score fell from -0.1 to -0.25."""
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        run = factories.make_run(session, demo.id, "ppo", result={"score_before": -0.1, "score": -0.25})
        return factories.make_checkpoint(session, demo.id, run_id=run.id, parent_id=demo.policy_id).id


def test_a_program_confirms_it(api: Callable[..., TestClient], engine: Engine, candidate: int) -> None:
    admin = api("admin", who="Grace")
    refused = admin.post(f"{V1}/checkpoints/{candidate}/promote")
    assert refused.status_code == 409
    assert "did not rise" in refused.json()["detail"]
    assert admin.post(f"{V1}/checkpoints/{candidate}/promote", json={"confirm": True}).status_code == 200
    with read_session(engine) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "policy.promoted")).one()
    assert (entry.details["score_before"], entry.details["score"]) == (-0.1, -0.25)


def test_the_page_names_the_figures_and_asks(as_user: Callable[[str], TestClient], candidate: int) -> None:
    grace = as_user("Grace")
    page = grace.get(f"/checkpoints/{candidate}").text
    assert "Its score did not rise: \N{MINUS SIGN}0.100 before, \N{MINUS SIGN}0.250 after" in page
    assert 'name="confirm" value="yes"' in page
    assert grace.post(f"/checkpoints/{candidate}/promotion").status_code == 409
    assert grace.post(f"/checkpoints/{candidate}/promotion", data={"confirm": "yes"}).status_code == 303


@pytest.mark.parametrize(
    ("judged", "asked"), [({"judged_before": 0.1, "judged": 0.3}, False), ({"judged_before": 0.3, "judged": 0.1}, True)]
)
def test_where_there_is_a_judge_its_word_counts_and_not_the_reward_that_was_trained_for(
    as_user: Callable[[str], TestClient], engine: Engine, cast: Cast, judged: dict[str, float], asked: bool
) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        score = {"score_before": 0.0, "score": 0.9 if asked else -0.1}
        run = factories.make_run(session, demo.id, "ppo", result=score | judged)
        made = factories.make_checkpoint(session, demo.id, run_id=run.id, parent_id=demo.policy_id).id
    grace = as_user("Grace")
    assert ('name="confirm" value="yes"' in grace.get(f"/checkpoints/{made}").text) == asked
    reply = grace.post(f"/checkpoints/{made}/promotion")
    assert reply.status_code == (409 if asked else 303)
    assert ("The judge" in reply.text) == asked


def test_going_back_to_a_policy_promoted_before_asks_nothing(
    as_user: Callable[[str], TestClient], engine: Engine, candidate: int
) -> None:
    with write_session(engine) as session:
        session.get_one(Checkpoint, candidate).promoted_at = utc_now()
    grace = as_user("Grace")
    assert 'name="confirm" value="yes"' not in grace.get(f"/checkpoints/{candidate}").text
    assert grace.post(f"/checkpoints/{candidate}/promotion").status_code == 303


@pytest.mark.parametrize("kind", ["policy", "reward"])
def test_what_grew_out_of_no_base_of_this_project_is_not_promoted(
    api: Callable[..., TestClient], as_user: Callable[[str], TestClient], engine: Engine, cast: Cast, kind: str
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        stray = factories.make_checkpoint(session, cast.demo, kind=kind).id  # without a parent
        before = project.policy_id
    why = "grew out of the project's base model" if kind == "policy" else "this checkpoint is a reward model"
    refused = api("admin", who="Grace").post(f"{V1}/checkpoints/{stray}/promote", json={"confirm": True})
    assert (refused.status_code, why in refused.json()["detail"]) == (409, True)
    assert as_user("Grace").post(f"/checkpoints/{stray}/promotion", data={"confirm": "yes"}).status_code == 409
    with read_session(engine) as session:
        assert session.get_one(Project, cast.demo).policy_id == before


# What is asked first


def policies_behind(session: Session) -> list[set[int]]:
    """Of each comparison that waits, in the order in which they are served."""
    by = dict(session.execute(select(Generation.id, Generation.checkpoint_id)).all())
    waiting = select(Task).join(Seat, Seat.task_id == Task.id).where(Seat.state == "free").order_by(Seat.id)
    return [{by[task.first_generation_id], by[task.second_generation_id or 0]} for task in session.scalars(waiting)]


def new_answers(session: Session, project: Project, prompts: Sequence[Prompt]) -> Checkpoint:
    """A candidate that has answered each prompt twice."""
    candidate = factories.make_checkpoint(session, project.id, parent_id=project.policy_id)
    run = factories.make_run(session, project.id)
    for prompt in prompts:
        for number in range(2):
            factories.make_generation(session, prompt, candidate.id, run_id=run.id, number=number)
    return candidate


def test_with_an_empty_queue_the_policy_before_answers_first_and_new_waits_for_it(session: Session, demo: Project) -> None:
    demo.rating_share = 0.0
    old = demo.policy_id
    assert old is not None
    prompts = [factories.make_prompt(session, demo.id) for _ in range(3)]
    candidate = new_answers(session, demo, prompts)

    promote(session, candidate, None)

    assert policies_behind(session) == [], "new against new would come first"
    run = session.scalars(select(Run).where(Run.state == "queued")).one()
    assert (run.inputs["checkpoint"], run.inputs["prompt_ids"]) == (old, [prompt.id for prompt in prompts])
    assert refill.queue_refill(session, demo) is None, "it is on its way"
    run.state = "running"
    for prompt in prompts[:2]:
        factories.make_generation(session, prompt, old, run_id=run.id)
    make_tasks.make_tasks(session, demo)
    assert policies_behind(session) == [{old, candidate.id}] * 2
    results.record_end(session, run, "failed", factories.written("It crashed"))
    assert policies_behind(session) == [{old, candidate.id}] * 2 + [{candidate.id}], "what nothing can meet is asked at last"


def test_a_sampling_that_is_cancelled_before_it_began_holds_nothing_up(session: Session, demo: Project, cast: Cast) -> None:
    demo.rating_share = 0.0
    candidate = new_answers(session, demo, [factories.make_prompt(session, demo.id)])
    promote(session, candidate, None)
    run = session.scalars(select(Run).where(Run.state == "queued")).one()
    service.cancel_run(session, run, cast.grace)
    assert policies_behind(session) == [{candidate.id}]


def test_nothing_is_written_where_enough_old_answers_are_left(session: Session, demo: Project) -> None:
    demo.rating_share = 0.0
    old = demo.policy_id
    assert old is not None
    prompts = [factories.make_prompt(session, demo.id) for _ in range(2)]
    for prompt in prompts:
        factories.make_generation(session, prompt, old)
    candidate = new_answers(session, demo, prompts)
    promote(session, candidate, None)
    assert session.scalars(select(Run).where(Run.state == "queued")).all() == []
    assert policies_behind(session) == [{old, candidate.id}] * 2
