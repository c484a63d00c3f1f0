"""A failed run is done again, and its round goes on from there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict
from app.models import AuditEntry, Project, Round, Run
from app.rounds import evaluating, retry, service
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.judged import Judged, begin, policy_of, taste, work
from tests.app.rounds.test_service import end, make_labels, stage

Browser = Callable[[str], TestClient]


def failed_sample(session: Session, project: Project, **values: object) -> Run:
    factories.make_prompt(session, project.id)
    run = service.queue_run(session, project, "sample", {"temperature": 0.9, "seed": 7}, {}, None)
    run.state, run.message = "failed", factories.written("It was refused.")
    for name, value in values.items():
        setattr(run, name, value)
    session.flush()
    return run


def failed_round(session: Session, project: Project, cast: Cast) -> tuple[Round, Run]:
    """A round whose PPO run failed."""
    make_labels(session, project, 30, cast.mary)
    round_ = service.start_round(session, project, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    run = stage(session, round_)[0]
    end(session, run, "failed", reason="It crashed three times")
    assert (round_.state, round_.reason) == ("failed", factories.written("It crashed three times"))
    return round_, run


def test_a_failed_run_is_queued_again_as_it_was(session: Session, demo: Project, cast: Cast) -> None:
    run = failed_sample(session, demo)

    again = retry.retry_run(session, run, cast.grace)

    assert (again.state, again.kind, again.config, again.inputs) == ("queued", "sample", run.config, run.inputs)
    assert (again.retry_of_id, again.created_by) == (run.id, cast.grace)
    assert run.state == "failed"
    entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "run.retried")).one()
    assert (entry.actor_id, entry.subject, entry.details) == (cast.grace, f"run {run.id}", {"as": again.id})


def test_where_answers_are_stored_already_they_are_not_written_a_second_time(session: Session, demo: Project) -> None:
    run = failed_sample(session, demo)
    assert demo.policy_id is not None
    factories.make_generation(session, factories.make_prompt(session, demo.id), demo.policy_id, run_id=run.id)
    again = retry.retry_run(session, run, None)
    assert again.config["seed"] != 7
    assert again.config["temperature"] == 0.9


def test_a_setting_that_this_version_no_longer_has_is_left_out(session: Session, demo: Project) -> None:
    run = failed_sample(session, demo)
    run.config = run.config | {"beams": 4}
    assert "beams" not in retry.retry_run(session, run, None).config


@pytest.mark.parametrize("state", ["queued", "running", "done", "cancelled"])
def test_only_what_failed_is_done_again(session: Session, demo: Project, state: str) -> None:
    run = failed_sample(session, demo, state=state)
    with pytest.raises(Conflict, match="that failed"):
        retry.retry_run(session, run, None)


def test_a_run_is_done_again_once_and_the_new_one_may_be_in_its_turn(session: Session, demo: Project) -> None:
    run = failed_sample(session, demo)
    again = retry.retry_run(session, run, None)
    with pytest.raises(Conflict, match=f"Run {again.id} does this one again"):
        retry.retry_run(session, run, None)
    again.state = "failed"
    session.flush()
    assert retry.retry_run(session, again, None).retry_of_id == again.id


def test_its_round_goes_on_from_there_to_a_decision(session: Session, demo: Project, cast: Cast) -> None:
    round_, run = failed_round(session, demo, cast)

    again = retry.retry_run(session, run, cast.grace)

    assert (round_.state, round_.reason, round_.ended_at) == ("ppo", None, None)
    assert (again.round_id, again.inputs) == (round_.id, run.inputs)
    end(session, again)
    assert round_.state == "sample"
    for one in stage(session, round_):
        end(session, one)
    assert round_.state == "decision"


def test_everything_of_the_stage_that_failed_is_done_again(session: Session, demo: Project, cast: Cast) -> None:
    factories.make_prompt(session, demo.id, split="holdout")
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    end(session, stage(session, round_)[0])
    first, second = stage(session, round_)
    end(session, first, "failed", reason="No")
    end(session, second, "failed", reason="No")
    assert round_.state == "failed"

    retry.retry_run(session, first, cast.grace)

    again = service.runs_in_force(session, round_)
    assert [(one.retry_of_id, one.state) for one in again] == [(first.id, "queued"), (second.id, "queued")]
    for one in again:
        end(session, one)
    assert round_.state == "decision"


def test_while_another_round_is_open_it_waits(session: Session, demo: Project, cast: Cast) -> None:
    round_, run = failed_round(session, demo, cast)
    other = service.start_round(session, demo, "admin", cast.grace)
    with pytest.raises(Conflict, match="Round 2 is open"):
        retry.retry_run(session, run, cast.grace)
    assert round_.state == "failed"
    service.cancel_round(session, other, cast.grace)
    assert retry.retry_run(session, run, cast.grace).state == "queued"


def fail_beside(engine: Engine, judged: Judged) -> int:
    """The run of what the candidate is seen beside fails: its round goes on without it."""
    with write_session(engine) as session:
        run = next(run for run in service.runs_of_round(session, judged.round) if evaluating.is_beside(run))
        run.state, run.message = "failed", factories.written("It crashed.")
        return run.id


def test_what_people_decided_meanwhile_is_not_taken_back(engine: Engine) -> None:
    judged = begin(engine, prompts=30, train=5, evaluation_share=0.9)
    run_id = fail_beside(engine, judged)
    before = work(engine, judged, taste(0.0))
    assert (before.state, before.decision) == ("done", "rejected")
    with write_session(engine) as session:
        round_ = session.get_one(Round, judged.round)
        assert retry.retryable(session, round_) == []
        again = retry.retry_run(session, session.get_one(Run, run_id), None)
        assert (again.state, again.round_id, again.retry_of_id) == ("queued", None, run_id)
        assert (round_.state, round_.reason, round_.ended_at) == ("done", before.reason, before.ended_at)


def test_a_round_that_people_judge_stays_with_them(engine: Engine) -> None:
    judged = begin(engine, prompts=30, train=5, evaluation_share=0.9)
    run_id = fail_beside(engine, judged)
    with write_session(engine) as session:
        assert retry.retry_run(session, session.get_one(Run, run_id), None).round_id is None
        assert session.get_one(Round, judged.round).state == "evaluation"
    assert work(engine, judged, taste(1.0)).decision == "promoted"
    assert policy_of(engine, judged) == judged.candidate


def test_nor_is_one_begun_again_that_was_cancelled_while_they_judged(engine: Engine) -> None:
    judged = begin(engine, prompts=30, train=5)
    run_id = fail_beside(engine, judged)
    with write_session(engine) as session:
        round_ = session.get_one(Round, judged.round)
        service.cancel_round(session, round_, None)
        assert retry.retry_run(session, session.get_one(Run, run_id), None).round_id is None
        assert round_.state == "cancelled"


def test_one_of_several_that_failed_is_done_again_in_its_round_until_that_went_on(
    session: Session, demo: Project, cast: Cast
) -> None:
    factories.make_prompt(session, demo.id, split="holdout")
    make_labels(session, demo, 30, cast.mary)
    round_ = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, round_)[0], gate_passed=True)
    end(session, stage(session, round_)[0])
    first, second = stage(session, round_)
    end(session, first, "failed", reason="No")
    assert retry.retryable(session, round_) == [first]
    again = retry.retry_run(session, first, cast.grace)
    assert (again.round_id, round_.state) == (round_.id, "sample")
    for run in (second, again):
        end(session, run)
    assert round_.state == "decision"


# Pages and calls


def test_the_button_stands_where_the_failure_is_seen(as_user: Browser, engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        round_, run = failed_round(session, demo, cast)
        alone = failed_sample(session, demo).id
        pages = {
            f"/runs/{alone}": alone,
            "/projects/demo/rounds": alone,
            f"/runs/{run.id}": run.id,
            f"/rounds/{round_.id}": run.id,
        }
    for page, run_id in pages.items():
        assert f'action="/runs/{run_id}/retry"' in as_user("Grace").get(page).text, page
        assert "/retry" not in as_user("Alan").get(page).text, "a reviewer reads it"

    pressed = as_user("Grace").post(f"/runs/{alone}/retry")
    assert pressed.status_code == 303
    with read_session(engine) as session:
        again = session.scalars(select(Run).where(Run.retry_of_id == alone)).one()
    assert pressed.headers["location"] == f"/runs/{again.id}"
    assert f'href="/runs/{again.id}"' in as_user("Grace").get(f"/runs/{alone}").text
    assert f'action="/runs/{alone}/retry"' not in as_user("Grace").get("/projects/demo/rounds").text


def test_a_program_does_it_too(api: Callable[..., TestClient], engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        run_id = failed_sample(session, session.get_one(Project, cast.demo)).id
    reply = api("admin", who="Grace").post(f"/api/v1/runs/{run_id}/retry")
    assert reply.status_code == 202
    assert (reply.json()["state"], reply.json()["retry_of_id"]) == ("queued", run_id)
    assert api("admin", who="Grace").post(f"/api/v1/runs/{run_id}/retry").status_code == 409
