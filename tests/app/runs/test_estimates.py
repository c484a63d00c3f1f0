"""How long things take: a round, a waiting run until it begins, the next tasks until they are there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.models import Project, Run, Worker, utc_now
from app.rounds.service import start_round
from app.runs import estimates
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import make_labels
from tests.app.rounds.told import a_worker

SAMPLING = {"per_prompt": 2, "max_new_tokens": 50, "batch_size": 4}


def did(session: Session, project_id: int, kind: str, seconds: float, **values: Any) -> Run:
    """A run that is done and took so long."""
    began = utc_now() - timedelta(hours=1)
    times: dict[str, Any] = {"started_at": began, "ended_at": began + timedelta(seconds=seconds), "heartbeat_at": began}
    return factories.make_run(session, project_id, kind, attempts=1, **times, **values)


def wrote(session: Session, project_id: int, seconds: float, answers: int = 20) -> Run:
    return did(session, project_id, "sample", seconds, config=SAMPLING, result={"generations": answers})


def asked(session: Session, project: Project, prompts: int, **values: Any) -> Run:
    """A sample run of so many prompts."""
    ids = [factories.make_prompt(session, project.id).id for _ in range(prompts)]
    inputs = {"checkpoint": project.policy_id, "prompt_ids": ids}
    return factories.make_run(session, project.id, **{"state": "queued", "config": SAMPLING, "inputs": inputs, **values})


# A round


def test_the_expected_time_follows_past_runs_of_the_project(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 60, cast.mary)
    assert not estimates.expected_times(session, demo)["reward"].measured
    did(session, demo.id, "reward", 45, label_count=30)
    expected = estimates.expected_times(session, demo)
    assert expected["reward"].measured
    assert expected["reward"].seconds == pytest.approx(90)
    assert not expected["ppo"].measured


@pytest.mark.parametrize(("kind", "times"), [("ppo", 9 / 5), ("preference", 5.5 / 4)])
def test_demonstrations_beside_take_passes_too(session: Session, demo: Project, kind: str, times: float) -> None:
    """By default PPO passes four times over what it has measured once, labels are passed over three times."""
    plain, beside = (
        factories.make_run(session, demo.id, kind, config={"ptx_weight": weight}, label_count=10_000) for weight in (0.0, 0.5)
    )
    seconds = [estimates.run_seconds(session, run) - estimates.START_S[kind] for run in (beside, plain)]
    assert seconds[0] / seconds[1] == pytest.approx(times)


# A waiting run


def test_a_run_begins_when_what_comes_before_it_has_ended(session: Session, demo: Project, cast: Cast) -> None:
    a_worker(session)
    wrote(session, demo.id, seconds=40, answers=20)  # two seconds an answer
    running = factories.make_run(session, cast.other, "reward", state="running", eta_s=100.0, heartbeat_at=utc_now())
    first, second = asked(session, demo, 5), asked(session, demo, 10)
    theirs = factories.make_run(session, cast.other, "sft", state="queued")

    waits = estimates.waits(session, [first, second, theirs, running])

    assert [(waits[run.id].running, waits[run.id].between) for run in (first, theirs, second)] == [(running, n) for n in range(3)]
    assert waits[first.id].seconds == pytest.approx(100.0)
    assert waits[theirs.id].seconds == pytest.approx(120.0), "ten answers of two seconds before it"
    assert waits[second.id].seconds == pytest.approx(120.0 + 620.0), "and an sft run, of ten minutes and some"
    assert running.id not in waits


def test_two_workers_take_two_runs_at_a_time(session: Session, demo: Project, cast: Cast) -> None:
    for name in ("box-1", "box-2"):
        session.add(Worker(name=name))
    wrote(session, demo.id, seconds=40, answers=20)
    factories.make_run(session, cast.other, "reward", state="running", eta_s=100.0, heartbeat_at=utc_now())
    first, second = asked(session, demo, 5), asked(session, demo, 10)
    waits = estimates.waits(session, [first, second])
    assert waits[first.id].seconds == pytest.approx(0.0)
    assert waits[second.id].seconds == pytest.approx(20.0)


def test_without_a_worker_nothing_is_promised(session: Session, demo: Project) -> None:
    run = asked(session, demo, 5)
    assert estimates.waits(session, [run])[run.id].seconds is None


# The next tasks


def test_tasks_come_with_the_first_batch_not_with_the_last(session: Session, demo: Project) -> None:
    a_worker(session)
    wrote(session, demo.id, seconds=10 + 40 * 10, answers=40)
    run = asked(session, demo, 20)  # 40 answers in ten batches: 10 s to open the model, then 40 s each
    coming = estimates.next_tasks(session, demo)
    assert (coming.state, coming.run) == ("queued", run)
    assert coming.seconds == pytest.approx(10 + 40)

    run.state, run.started_at = "running", utc_now() - timedelta(seconds=20)
    assert estimates.next_tasks(session, demo).seconds == pytest.approx(30, abs=1)
    run.step, run.total, run.eta_s = 16, 40, 240.0
    assert estimates.next_tasks(session, demo).seconds == pytest.approx(40)


def test_what_other_projects_do_first_is_counted(session: Session, demo: Project, cast: Cast) -> None:
    a_worker(session)
    wrote(session, demo.id, seconds=10 + 40 * 10, answers=40)
    factories.make_run(session, cast.other, "ppo", state="running", eta_s=1200.0, heartbeat_at=utc_now())
    asked(session, demo, 20)
    assert estimates.next_tasks(session, demo).seconds == pytest.approx(1250)


def test_a_refill_that_is_to_be_queued_counts_already(session: Session, demo: Project, cast: Cast) -> None:
    a_worker(session)
    demo.sampling = SAMPLING
    wrote(session, demo.id, seconds=10 + 40 * 10, answers=40)
    for _ in range(20):
        factories.make_prompt(session, demo.id)
    factories.make_run(session, cast.other, "ppo", state="running", eta_s=300.0, heartbeat_at=utc_now())
    coming = estimates.next_tasks(session, demo)
    assert coming.state == "queued"
    assert coming.seconds == pytest.approx(350)
    assert not session.new, "it is only thought of"


def test_what_a_candidate_writes_makes_no_tasks(session: Session, demo: Project) -> None:
    a_worker(session)
    candidate = factories.make_checkpoint(session, demo.id)
    asked(session, demo, 5, inputs={"checkpoint": candidate.id}, state="running")
    demo.queue_low_mark = 0
    assert estimates.next_tasks(session, demo).state == "none"


def test_while_it_learns_the_rest_of_the_round_is_told(session: Session, demo: Project, cast: Cast) -> None:
    a_worker(session)
    make_labels(session, demo, 30, cast.mary)
    demo.queue_low_mark = 0
    round_ = start_round(session, demo, "admin", cast.grace)
    later = estimates.expected_times(session, demo, round_.config)
    run = session.query(Run).where(Run.round_id == round_.id).one()
    run.state, run.eta_s = "running", 60.0
    coming = estimates.next_tasks(session, demo)
    assert coming.state == "learning"
    assert coming.seconds == pytest.approx(60 + later["ppo"].seconds + later["sample"].seconds)


def test_without_a_worker_no_tasks_are_promised(session: Session, demo: Project) -> None:
    asked(session, demo, 5)
    assert estimates.next_tasks(session, demo) == estimates.NextTasks("no_worker", None, session.query(Run).one())
