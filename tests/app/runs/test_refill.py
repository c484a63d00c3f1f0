"""The queue refills itself, and stops where that fails again and again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import get_args

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import write_session
from app.models import Project, Prompt, Run, utc_now
from app.projects.service import update_project
from app.rounds import retry, triggers
from app.rounds.service import start_round
from app.runs import refill
from app.runs.left_out import DIGESTS, Why
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.asked import queue_refill
from tests.app.rounds.test_service import end, label_task, make_labels, stage


@pytest.fixture
def demo(session: Session, cast: Cast) -> Project:
    project = session.get_one(Project, cast.demo)
    factories.make_prompt(session, project.id)
    return project


def test_an_empty_queue_asks_for_answers_to_the_least_answered_prompts(session: Session, demo: Project) -> None:
    answered, fresh = session.scalars(select(Prompt)).one(), factories.make_prompt(session, demo.id)
    factories.make_prompt(session, demo.id, split="holdout")
    factories.make_prompt(session, demo.id, archived_at=utc_now())
    assert demo.policy_id is not None
    factories.make_generation(session, answered, demo.policy_id)
    run = queue_refill(session, demo)
    assert run is not None
    assert run.inputs["prompt_ids"] == [fresh.id, answered.id]
    assert queue_refill(session, demo) is None, "one is on its way"


def test_nothing_is_written_to_a_prompt_that_is_for_nobody_here(session: Session, demo: Project) -> None:
    theirs = session.scalars(select(Prompt)).one()
    demo.audiences = ["* law"]
    factories.make_prompt(session, demo.id, audience="* law")
    assert refill.refill_prompts(session, demo) == [theirs.id]


@pytest.mark.parametrize(("share", "usual", "written"), [(0.0, 2, 2), (0.1, 2, 5), (0.1, 8, 8)])
def test_where_answers_are_to_be_put_in_order_enough_are_written(
    session: Session, demo: Project, share: float, usual: int, written: int
) -> None:
    update_project(session, demo, {"sampling": {"per_prompt": usual}, "ranking_share": share, "ranking_answers": 5}, None)
    run = queue_refill(session, demo)
    assert run is not None
    assert run.config["per_prompt"] == written


def test_after_a_promotion_the_policy_before_answers_the_same_prompts_first(session: Session, demo: Project) -> None:
    old = demo.policy_id
    assert old is not None
    has_one, has_none = session.scalars(select(Prompt)).one(), factories.make_prompt(session, demo.id)
    factories.make_generation(session, has_one, old)
    demo.policy_id, demo.previous_policy_id = factories.make_checkpoint(session, demo.id).id, old
    session.flush()

    run = queue_refill(session, demo)

    assert run is not None
    first, second = session.scalars(select(Run).where(Run.state == "queued").order_by(Run.id)).all()
    assert (first.inputs["checkpoint"], first.inputs["prompt_ids"]) == (old, [has_none.id])
    assert second is run
    assert (run.inputs["checkpoint"], set(run.inputs["prompt_ids"])) == (demo.policy_id, {has_one.id, has_none.id})
    assert queue_refill(session, demo) is None, "both are on their way"


def test_a_refill_that_did_not_help_is_not_repeated_at_once(session: Session, demo: Project) -> None:
    run = queue_refill(session, demo)
    assert run is not None
    run.state, run.ended_at = "done", utc_now()
    assert refill.refill_prompts(session, demo) == []
    run.ended_at = utc_now() - timedelta(minutes=2)
    assert refill.refill_prompts(session, demo) != []
    run.state = "failed"
    assert refill.refill_prompts(session, demo) == []


def test_people_who_answered_everything_do_not_wait_for_the_next_refill(session: Session, demo: Project, cast: Cast) -> None:
    run = queue_refill(session, demo)
    assert run is not None
    run.state, run.ended_at = "done", utc_now() - timedelta(seconds=1)
    label_task(session, factories.make_task(session, demo, seats=0), cast.mary)
    assert refill.refill_prompts(session, demo) != []


def test_a_full_queue_is_left_alone(session: Session, demo: Project) -> None:
    demo.queue_low_mark = 1
    factories.make_task(session, demo)
    assert refill.refill_prompts(session, demo) == []


# Where it fails again and again


def fail(session: Session, run: Run | None) -> Run:
    """The refill failed, long enough ago for another one."""
    assert run is not None
    run.state, run.ended_at, run.message = "failed", utc_now() - timedelta(hours=1), factories.written("There is no /models/tiny")
    session.flush()
    return run


def fail_thrice(session: Session, project: Project) -> Run:
    for _ in range(3):
        run = fail(session, queue_refill(session, project))
    return run


def test_after_three_failures_in_a_row_no_more_answers_are_asked_for(session: Session, demo: Project) -> None:
    for _ in range(3):
        assert refill.stopped_by(session, demo, demo.policy_id) is None
        last = fail(session, queue_refill(session, demo))
    assert queue_refill(session, demo) is None
    assert refill.stopped_by(session, demo, demo.policy_id) is last


def test_one_that_ended_well_in_between_starts_the_count_anew(session: Session, demo: Project) -> None:
    fail(session, queue_refill(session, demo))
    fail(session, queue_refill(session, demo)).state = "done"
    for _ in range(2):
        fail(session, queue_refill(session, demo))
    assert refill.refill_prompts(session, demo) != []


def test_what_somebody_queues_again_decides_whether_it_goes_on(session: Session, demo: Project, cast: Cast) -> None:
    last = fail_thrice(session, demo)
    again = retry.retry_run(session, last, cast.grace)
    assert queue_refill(session, demo) is None, "one is on its way"
    fail(session, again)
    assert refill.stopped_by(session, demo, demo.policy_id) is again, "one more failure is no new beginning"
    fail(session, retry.retry_run(session, again, cast.grace)).state = "done"
    assert refill.refill_prompts(session, demo) != []


@pytest.mark.parametrize("change", [{"base_model": "org/other"}, {"sampling": {"max_new_tokens": 12}}])
def test_another_model_or_other_settings_are_tried_again(
    session: Session, demo: Project, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    monkeypatch.setattr("app.projects.service.base_model_is_fixed", lambda *_: False)
    fail_thrice(session, demo)
    update_project(session, demo, change, by=None)  # type: ignore[arg-type]
    assert refill.refill_prompts(session, demo) != []
    update_project(session, demo, {"name": "Demo"}, by=None)
    fail_thrice(session, demo)
    update_project(session, demo, {"overlap": 2}, by=None)
    assert refill.refill_prompts(session, demo) == [], "which says nothing of how answers are written"


def test_a_policy_promoted_since_is_a_new_beginning(session: Session, demo: Project) -> None:
    fail_thrice(session, demo)
    demo.previous_policy_id, demo.policy_id = demo.policy_id, factories.make_checkpoint(session, demo.id).id
    session.flush()
    run = queue_refill(session, demo)
    assert run is not None
    queued = session.scalars(select(Run).where(Run.state == "queued")).all()
    assert queued == [run], "the one before fails, so it is not asked"


def test_rounds_that_fail_again_and_again_wait_for_somebody(session: Session, demo: Project, cast: Cast) -> None:
    demo.trigger_labels, demo.triggers_on = 1, True
    make_labels(session, demo, 30, cast.mary)
    for _ in range(3):
        make_labels(session, demo, 1, cast.mary)
        assert triggers.next_trigger(session, demo).due == "labels"
        round_ = start_round(session, demo, "labels", None)
        end(session, stage(session, round_)[0], "failed", reason="It crashed")
    make_labels(session, demo, 1, cast.mary)
    assert triggers.next_trigger(session, demo).due is None
    assert triggers.next_trigger(session, demo).waits_for == "somebody to start it: the last 3 failed"


def test_the_overview_says_which_run_and_why_and_annotators_only_that_there_is_a_problem(
    as_user: Callable[[str], TestClient], engine: Engine, cast: Cast
) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        factories.make_prompt(session, project.id)
        run_id = fail_thrice(session, project).id

    overview = as_user("Grace").get("/projects/demo").text
    assert "There is no /models/tiny" in overview
    assert f'href="/runs/{run_id}"' in overview
    assert f'action="/runs/{run_id}/retry"' in overview
    assert "/retry" not in as_user("Alan").get("/projects/demo").text

    desk = as_user("Mary").get("/projects/demo/annotate").text
    assert "There is a problem with this project's model" in desk
    assert "/models/tiny" not in desk


@pytest.mark.parametrize("ended", ["done", "failed"])
@pytest.mark.parametrize("why", get_args(Why))
def test_a_prompt_that_the_model_can_do_nothing_with_is_not_asked_of_it_again(
    session: Session, demo: Project, why: str, ended: str
) -> None:
    fine, refused = session.scalars(select(Prompt)).one(), factories.make_prompt(session, demo.id)
    run = queue_refill(session, demo)
    assert run is not None
    assert set(run.inputs["prompt_ids"]) == {fine.id, refused.id}
    run.state, run.ended_at = ended, utc_now() - timedelta(minutes=20)
    run.result = {f"{why}_prompts": 1, f"{why}_prompt_ids": [refused.id], DIGESTS: {refused.digest: why}}
    session.flush()
    assert refill.refill_prompts(session, demo) == [fine.id]
    update_project(session, demo, {"sampling": {"max_new_tokens": 12}}, by=None)
    assert set(refill.refill_prompts(session, demo)) == {fine.id, refused.id}, "it may be able to, as it is asked now"
