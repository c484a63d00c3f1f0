"""Promoting asks once more where the score did not rise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.database import slices
from app.database.engine import read_session, write_session
from app.models import AuditEntry, Checkpoint, Generation, Project, Prompt, Run, Seat, Skip, Task, utc_now
from app.queue import asking, make_tasks
from app.queue.lease import give_back
from app.rounds import service
from app.rounds.promotion import promote
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.queue.asked import ask, queue_refill
from trainer.worker import results
from trainer.worker.chores import Looks, ask_what_is_due

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


@pytest.mark.parametrize(("gain", "asked"), [(0.2, False), (0.0, True), (-0.1, True)])
def test_the_gain_on_the_same_held_out_prompts_counts_before_scores_of_other_prompts(
    as_user: Callable[[str], TestClient], engine: Engine, cast: Cast, gain: float, asked: bool
) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        after = -0.9 if not asked else 0.9
        others = {"judged_before": 0.1, "judged": after, "score_before": 0.1, "score": after}
        run = factories.make_run(session, demo.id, "ppo", result=others | {"heldout_gain": gain})
        made = factories.make_checkpoint(session, demo.id, run_id=run.id, parent_id=demo.policy_id).id
    grace = as_user("Grace")
    page = grace.get(f"/checkpoints/{made}").text
    assert ('name="confirm" value="yes"' in page) == asked
    assert ("On held-out prompts its answers score no higher" in page) == asked
    reply = grace.post(f"/checkpoints/{made}/promotion")
    assert reply.status_code == (409 if asked else 303)
    if asked:
        grace.post(f"/checkpoints/{made}/promotion", data={"confirm": "yes"})
        with read_session(engine) as session:
            entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "policy.promoted")).one()
        assert entry.details["heldout_gain"] == gain
        assert "Gain on held-out prompts" in grace.get("/projects/demo/audit").text


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
    by = {written: checkpoint or 0 for written, checkpoint in session.execute(select(Generation.id, Generation.checkpoint_id))}
    waiting = select(Task).join(Seat, Seat.task_id == Task.id).where(Seat.state == "free").order_by(Seat.place)
    return [{by[task.first_generation_id], by[task.second_generation_id or 0]} for task in session.scalars(waiting)]


def served(engine: Engine) -> list[set[int]]:
    """The same, once the worker has looked at what is due."""
    ask_what_is_due(engine, Looks())
    with read_session(engine) as session:
        return policies_behind(session)


@pytest.fixture
def old(engine: Engine, cast: Cast) -> int:
    """The policy in force of a project that compares only."""
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        demo.rating_share = 0.0
        assert demo.policy_id is not None
        return demo.policy_id


def prompts_of(engine: Engine, cast: Cast, count: int, answers: int = 0) -> list[int]:
    """New prompts, answered so often by the policy in force."""
    with write_session(engine) as session:
        policy_id = session.get_one(Project, cast.demo).policy_id
        assert policy_id is not None
        prompts = [factories.make_prompt(session, cast.demo) for _ in range(count)]
        for prompt in prompts:
            for _ in range(answers):
                factories.make_generation(session, prompt, policy_id)
        return [prompt.id for prompt in prompts]


def promote_with_answers(engine: Engine, cast: Cast, prompt_ids: Sequence[int]) -> int:
    """Promote a candidate that has answered each prompt twice."""
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        candidate = factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id)
        run = factories.make_run(session, demo.id)
        for prompt_id in prompt_ids:
            for number in range(2):
                factories.make_generation(session, session.get_one(Prompt, prompt_id), candidate.id, run_id=run.id, number=number)
        promote(session, candidate, cast.grace)
        return candidate.id


def waiting_run(session: Session) -> Run:
    return session.scalars(select(Run).where(Run.state.in_(("queued", "running")))).one()


def test_with_an_empty_queue_the_policy_before_answers_first_and_new_waits_for_it(engine: Engine, cast: Cast, old: int) -> None:
    prompts = prompts_of(engine, cast, 3)
    new = promote_with_answers(engine, cast, prompts)

    assert served(engine) == [], "new against new would come first"
    with write_session(engine) as session:
        run = waiting_run(session)
        assert (run.inputs["checkpoint"], run.inputs["prompt_ids"], run.created_by) == (old, prompts, cast.grace)
        assert queue_refill(session, session.get_one(Project, cast.demo)) is None, "it is on its way"
        run.state = "running"
        for prompt_id in prompts[:2]:
            factories.make_generation(session, session.get_one(Prompt, prompt_id), old, run_id=run.id)
        asking.note_due(session, cast.demo)
    assert served(engine) == [{old, new}] * 2
    with write_session(engine) as session:
        results.record_end(session, waiting_run(session), "failed", factories.written("It crashed"))
    assert served(engine) == [{old, new}] * 2 + [{new}], "what nothing can meet is asked at last"


def test_a_sampling_that_is_cancelled_before_it_began_holds_nothing_up(engine: Engine, cast: Cast, old: int) -> None:
    new = promote_with_answers(engine, cast, prompts_of(engine, cast, 1))
    assert served(engine) == []
    with write_session(engine) as session:
        service.cancel_run(session, waiting_run(session), cast.grace)
    assert served(engine) == [{new}]


def test_nothing_is_written_where_enough_old_answers_are_left(engine: Engine, cast: Cast, old: int) -> None:
    new = promote_with_answers(engine, cast, prompts_of(engine, cast, 2, answers=1))
    assert served(engine) == [{old, new}] * 2
    with read_session(engine) as session:
        assert session.scalars(select(Run).where(Run.state == "queued")).all() == []


def test_what_nobody_has_met_is_taken_apart_so_that_old_answers_meet_new_ones(engine: Engine, cast: Cast, old: int) -> None:
    """The sighting: 42 in a row were new against new, for every old answer stood in a task that waited."""
    prompts = prompts_of(engine, cast, 21, answers=2)
    with write_session(engine) as session:
        ask(session, session.get_one(Project, cast.demo))
        held = session.scalars(select(Seat).order_by(Seat.id)).first()
        assert held is not None
        held.state, held.annotator_id = "leased", cast.mary
        task_id = held.task_id
    new = promote_with_answers(engine, cast, prompts)

    assert served(engine) == [{old, new}] * 40
    with read_session(engine) as session:
        met = session.get_one(Task, task_id)
        assert waiting_run(session).inputs["prompt_ids"] == [met.prompt_id], "whose old answers Mary has before her"


def skip_all_that_waits(engine: Engine, cast: Cast) -> list[tuple[int, int]]:
    """So that nothing of it is taken apart; the seats' ids and places."""
    with write_session(engine) as session:
        waiting = session.scalars(select(Seat).where(Seat.state == "free").order_by(Seat.place)).all()
        skipped = set(session.scalars(select(Skip.task_id)))
        session.add_all(Skip(task_id=seat.task_id, annotator_id=cast.mary) for seat in waiting if seat.task_id not in skipped)
        return [(seat.id, seat.place) for seat in waiting]


def test_what_is_new_comes_before_all_that_waits_and_nothing_of_that_is_written_anew(
    engine: Engine, cast: Cast, old: int
) -> None:
    prompts = prompts_of(engine, cast, 5, answers=5)  # one of which waits for a partner
    with write_session(engine) as session:
        ask(session, session.get_one(Project, cast.demo))
    before = skip_all_that_waits(engine, cast)
    second = promote_with_answers(engine, cast, prompts)
    assert served(engine) == [{old, second}] * 5 + [{old}] * 10
    skip_all_that_waits(engine, cast)
    third = promote_with_answers(engine, cast, prompts)

    assert served(engine) == [{second, third}] * 5 + [{old, second}] * 5 + [{old}] * 10
    with write_session(engine) as session:
        earlier = select(Seat.id, Seat.place).where(Seat.id.in_([seat_id for seat_id, _ in before])).order_by(Seat.place)
        assert [tuple(seat) for seat in session.execute(earlier)] == before
        last = factories.make_task(session, session.get_one(Project, cast.demo)).id
        assert session.scalars(select(Seat.task_id).order_by(Seat.place)).all()[-1] == last, "whatever comes later, behind all"


def test_a_seat_that_somebody_held_meanwhile_waits_where_it_was_among_the_earlier_ones(
    engine: Engine, cast: Cast, old: int
) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        tasks = [factories.make_task(session, demo, seats=2).id for _ in range(3)]
        held = session.scalars(select(Seat).where(Seat.task_id == tasks[0], Seat.number == 1)).one()
        held.state, held.annotator_id, held.lease_until = "leased", cast.mary, utc_now() + timedelta(minutes=5)
    promote_with_answers(engine, cast, prompts_of(engine, cast, 2, answers=1))
    served(engine)
    with write_session(engine) as session:
        until = session.scalars(select(Seat.lease_until).where(Seat.annotator_id == cast.mary)).one()
        assert until is not None
        give_back(session.connection(), tasks[0], cast.mary, until, now=utc_now())
        free = session.execute(select(Seat.task_id, Seat.number).where(Seat.state == "free").order_by(Seat.place)).all()
    assert not {task_id for task_id, _ in free[:-6]} & set(tasks)
    assert [tuple(seat) for seat in free[-6:]] == [(task_id, number) for task_id in tasks for number in (1, 2)]


def test_what_a_worker_left_half_asked_the_next_one_asks_at_the_same_place(
    engine: Engine, cast: Cast, old: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_session(engine) as session:
        session.add(Skip(task_id=factories.make_task(session, session.get_one(Project, cast.demo)).id, annotator_id=cast.mary))
    new = promote_with_answers(engine, cast, prompts_of(engine, cast, 30, answers=2))

    def store(session: Session, project: Project, questions: Sequence[make_tasks.Question]) -> int:
        if len(policies_behind(session)) > 7:
            raise MemoryError
        return really(session, project, questions)

    really = make_tasks.store
    monkeypatch.setattr(slices, "FIRST", 7)
    monkeypatch.setattr(make_tasks, "store", store)
    half = served(engine)
    monkeypatch.setattr(make_tasks, "store", really)

    assert 7 < len(half) < 61
    assert served(engine) == [{old, new}] * 60 + [{old}]
    with read_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        assert (demo.questions_due_at, demo.questions_place) == (None, 0)


def tasks_made(engine: Engine) -> list[int]:
    with read_session(engine) as session:
        return list(session.scalars(select(Task.id).order_by(Task.id)))


def test_each_look_makes_some_of_a_plan_that_took_longer_to_draw_than_a_look_may_and_none_draws_it_again(
    engine: Engine, cast: Cast, old: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sighting: 50,000 prompts took 14 s to draw, a look was over after 5, and no task was ever made."""

    def plan(*args: Any) -> list[make_tasks.Question]:
        drawn.append(1)
        return really(*args)

    drawn: list[int] = []
    really = make_tasks.plan
    monkeypatch.setattr(make_tasks, "plan", plan)
    monkeypatch.setattr(slices, "FIRST", 7)
    prompts = prompts_of(engine, cast, 15, answers=2)
    promote_with_answers(engine, cast, prompts)
    unfinished: dict[int, asking.Plan] = {}
    for made in (7, 14, 21):
        assert not asking.ask(engine, cast.demo, budget_s=0, unfinished=unfinished)
        assert (len(tasks_made(engine)), len(drawn)) == (made, 1)

    with write_session(engine) as session:
        asking.note_due(session, cast.demo)
    looks = [asking.ask(engine, cast.demo, budget_s=0, unfinished=unfinished) for _ in range(2)]
    assert (looks, len(tasks_made(engine)), len(drawn)) == ([False, True], 30, 2), "there may be more: drawn anew, once"


def test_what_has_met_a_new_answer_is_not_taken_apart_by_the_next_look(
    engine: Engine, cast: Cast, old: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "FIRST", 30)
    promote_with_answers(engine, cast, prompts_of(engine, cast, 30, answers=2))
    assert not asking.ask(engine, cast.demo, budget_s=0)
    half = tasks_made(engine)
    asking.take_apart(engine, cast.demo)
    assert (len(half), tasks_made(engine)) == (30, half)
