"""Recording: every verdict stored once, corrected by versions, kept when it comes late."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.database.engine import write_session
from app.errors import Conflict, Invalid, NotFound
from app.labels.record import Stored, record_label
from app.labels.verdict import Rewrite, Verdict
from app.models import Generation, Label, Project, Prompt, Seat, Task
from app.projects.service import update_project
from app.queue import lease
from app.queue.claim import second_stands_left
from tests.app.conftest import Cast
from tests.app.queue.test_claim import LEASE, NOON, claim, claimed, make_tasks, skip


def say(choice: str = "left", client_id: str = "", **more: Any) -> Verdict:
    return Verdict(client_id=client_id or str(uuid.uuid4()), choice=choice, **more)


def record(engine: Engine, task_id: int, annotator_id: int, verdict: Verdict, minutes: float = 1.0) -> Stored:
    with write_session(engine) as session:
        return record_label(
            session.connection(), task_id, annotator_id, verdict, interface="test", now=NOON + timedelta(minutes=minutes)
        )


def labels(engine: Engine) -> list[Label]:
    with write_session(engine) as session:
        found = session.scalars(select(Label).order_by(Label.id)).all()
        session.expunge_all()
        return list(found)


def seat_states(engine: Engine, task_id: int) -> list[tuple[str, int | None]]:
    with write_session(engine) as session:
        seats = session.scalars(select(Seat).where(Seat.task_id == task_id).order_by(Seat.number)).all()
        return [(seat.state, seat.annotator_id) for seat in seats]


@pytest.fixture
def task_id(engine: Engine, cast: Cast) -> int:
    """A comparison that Mary holds."""
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    return task_id


def test_a_verdict_is_stored_with_everything_it_should_carry(engine: Engine, cast: Cast, task_id: int) -> None:
    verdict = say(
        "right",
        strength=2,
        criteria={"fluency": "left", "accuracy": "tie"},
        flags={"left": ["untrue"], "right": []},
        rewrite=Rewrite("right", "Better words."),
        comment="Shorter.",
        active_ms=4200,
    )

    stored = record(engine, task_id, cast.mary, verdict, minutes=0.5)

    (label,) = labels(engine)
    assert stored == Stored(label.id, task_id, 1, False, NOON + timedelta(seconds=30), created=True)
    assert (label.choice, label.strength, label.criteria) == ("right", 2, {"fluency": "left", "accuracy": "tie"})
    assert label.flags == {"left": ["untrue"]}
    assert label.rewrite == {"side": "right", "text": "Better words."}
    assert (label.comment, label.active_ms, label.wall_ms) == ("Shorter.", 4200, 30_000)
    assert (label.guideline_version, label.interface_version, label.served_reason) == (1, "test", "random")
    assert seat_states(engine, task_id) == [("done", cast.mary)]


@pytest.mark.parametrize(
    ("purpose", "split", "trains"),
    [("train", "train", True), ("train", "holdout", False), ("gold", "train", False), ("evaluation", "train", False)],
)
def test_a_label_says_whether_a_reward_model_may_learn_from_it(
    engine: Engine, cast: Cast, task_id: int, purpose: str, split: str, trains: bool
) -> None:
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        task.purpose, session.get_one(Prompt, task.prompt_id).split = purpose, split

    record(engine, task_id, cast.mary, say("left"))

    (label,) = labels(engine)
    assert label.trains is trains


@pytest.mark.parametrize(("said_ms", "stored_ms"), [(9_000, 9_000), (90_000, 60_000), (None, 60_000)])
def test_time_counts_from_when_the_page_showed_the_task_and_never_from_before_the_claim(
    engine: Engine, cast: Cast, task_id: int, said_ms: int | None, stored_ms: int
) -> None:
    record(engine, task_id, cast.mary, say(wall_ms=said_ms))

    assert [label.wall_ms for label in labels(engine)] == [stored_ms]


@pytest.mark.parametrize("said_ms", [9_000, None])
def test_a_clock_that_was_set_back_makes_no_time_less_than_nothing(
    engine: Engine, cast: Cast, task_id: int, said_ms: int | None
) -> None:
    record(engine, task_id, cast.mary, say(wall_ms=said_ms), minutes=-120)

    assert [label.wall_ms for label in labels(engine)] == [said_ms]


def test_a_verdict_on_a_task_that_was_given_back_is_still_its_authors(engine: Engine, cast: Cast, task_id: int) -> None:
    with write_session(engine) as session:
        held = session.scalars(select(Seat.lease_until).where(Seat.task_id == task_id)).one()
        assert held is not None
        lease.give_back(session.connection(), task_id, cast.mary, held, now=NOON)

    assert record(engine, task_id, cast.mary, say()).surplus is False
    assert seat_states(engine, task_id) == [("done", cast.mary)]


def test_left_and_right_are_the_answers_as_they_stood(engine: Engine, cast: Cast) -> None:
    for _ in make_tasks(engine, cast.demo, 6):
        shown = claim(engine, cast.demo, cast.mary)
        assert shown is not None
        record(engine, shown.id, cast.mary, say())
        label = labels(engine)[-1]
        with write_session(engine) as session:
            assert session.get_one(Generation, label.left_generation_id).text == shown.left
            assert label.right_generation_id is not None
            assert session.get_one(Generation, label.right_generation_id).text == shown.right


def test_the_same_send_again_is_answered_with_what_is_stored(engine: Engine, cast: Cast, task_id: int) -> None:
    verdict = say(comment="once")
    first = record(engine, task_id, cast.mary, verdict)

    again = record(engine, task_id, cast.mary, verdict, minutes=5)

    assert (again.id, again.version, again.created_at, again.created) == (first.id, 1, first.created_at, False)
    assert len(labels(engine)) == 1


def test_the_same_send_again_is_known_after_the_criteria_changed(engine: Engine, cast: Cast, task_id: int) -> None:
    verdict = say(criteria={"fluency": "left"})
    first = record(engine, task_id, cast.mary, verdict)
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).criteria = []

    again = record(engine, task_id, cast.mary, verdict, minutes=5)

    assert (again.id, again.created) == (first.id, False)
    with pytest.raises(Invalid):
        record(engine, task_id, cast.mary, say("right", verdict.client_id, criteria={"fluency": "left"}))


def test_another_verdict_under_the_same_client_id_is_refused(engine: Engine, cast: Cast, task_id: int) -> None:
    record(engine, task_id, cast.mary, say("left", "1" * 36))

    with pytest.raises(Conflict):
        record(engine, task_id, cast.mary, say("right", "1" * 36))
    assert [label.choice for label in labels(engine)] == ["left"]


def test_a_client_id_of_somebody_else_gives_nothing_away(engine: Engine, cast: Cast) -> None:
    first, second = make_tasks(engine, cast.demo, 2)
    claimed(engine, cast.demo, cast.mary)
    claimed(engine, cast.demo, cast.alan)
    record(engine, first, cast.mary, say("left", "1" * 36))

    with pytest.raises(Conflict):
        record(engine, second, cast.alan, say("left", "1" * 36))
    assert seat_states(engine, second) == [("leased", cast.alan)]


def test_a_second_verdict_is_a_new_version(engine: Engine, cast: Cast, task_id: int) -> None:
    record(engine, task_id, cast.mary, say("left"))

    corrected = record(engine, task_id, cast.mary, say("tie"))

    first, second = labels(engine)
    assert corrected.version == 2
    assert (first.choice, first.current, second.choice, second.current) == ("left", False, "tie", True)
    assert (second.supersedes_id, second.seat_id) == (first.id, first.seat_id)
    assert second.left_generation_id == first.left_generation_id
    assert second.wall_ms is None
    assert seat_states(engine, task_id) == [("done", cast.mary)]


def test_a_late_repeat_of_a_corrected_verdict_changes_nothing(engine: Engine, cast: Cast, task_id: int) -> None:
    verdict = say("left")
    first = record(engine, task_id, cast.mary, verdict)
    record(engine, task_id, cast.mary, say("right"))

    again = record(engine, task_id, cast.mary, verdict)

    assert (again.id, again.created) == (first.id, False)
    assert [(label.choice, label.current) for label in labels(engine)] == [("left", False), ("right", True)]


def test_a_verdict_after_its_lease_counts_while_nobody_else_took_the_seat(engine: Engine, cast: Cast, task_id: int) -> None:
    stored = record(engine, task_id, cast.mary, say(), minutes=120)

    assert not stored.surplus
    assert seat_states(engine, task_id) == [("done", cast.mary)]


def test_a_verdict_whose_seat_went_to_another_is_kept_as_surplus(engine: Engine, cast: Cast, task_id: int) -> None:
    claimed(engine, cast.demo, cast.alan, NOON + timedelta(minutes=11))

    stored = record(engine, task_id, cast.mary, say(), minutes=12)

    (label,) = labels(engine)
    assert stored.surplus
    assert (label.seat_id, label.surplus, label.current) == (None, True, True)
    with write_session(engine) as session:
        task = session.get_one(Task, task_id)
        left = task.second_generation_id if second_stands_left(task_id, cast.mary) else task.first_generation_id
        assert label.left_generation_id == left  # as Mary saw it, whatever Alan sees
    assert seat_states(engine, task_id) == [("leased", cast.alan)]
    assert not record(engine, task_id, cast.alan, say(), minutes=13).surplus


def test_a_late_verdict_takes_another_seat_of_the_task_if_one_is_free(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1, seats=2)
    claimed(engine, cast.demo, cast.mary)
    late = NOON + timedelta(minutes=11)
    assert claimed(engine, cast.demo, cast.alan, late) == task_id

    assert not record(engine, task_id, cast.mary, say(), minutes=12).surplus
    assert sorted(seat_states(engine, task_id)) == sorted([("leased", cast.alan), ("done", cast.mary)])


def test_a_skip_can_be_taken_back_by_answering(engine: Engine, cast: Cast, task_id: int) -> None:
    skip(engine, task_id, cast.mary)

    assert not record(engine, task_id, cast.mary, say()).surplus
    assert seat_states(engine, task_id) == [("done", cast.mary)]


def test_a_task_of_another_person_is_not_there(engine: Engine, cast: Cast, task_id: int) -> None:
    with pytest.raises(NotFound):
        record(engine, task_id, cast.alan, say())
    assert labels(engine) == []


def test_a_rewrite_that_changes_nothing_is_none(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    shown = claim(engine, cast.demo, cast.mary)
    assert shown is not None

    record(engine, shown.id, cast.mary, say(rewrite=Rewrite("left", f"\r\n{shown.left}  \r\n")))

    assert labels(engine)[0].rewrite is None


def test_a_rewrite_that_indents_is_one(engine: Engine, cast: Cast) -> None:
    make_tasks(engine, cast.demo, 1)
    shown = claim(engine, cast.demo, cast.mary)
    assert shown is not None

    record(engine, shown.id, cast.mary, say(rewrite=Rewrite("left", f"    {shown.left}")))

    assert labels(engine)[0].rewrite == {"side": "left", "text": f"    {shown.left}"}


def test_a_verdict_that_does_not_fit_stores_nothing_and_keeps_the_seat(engine: Engine, cast: Cast, task_id: int) -> None:
    with pytest.raises(Invalid) as refusal:
        record(engine, task_id, cast.mary, say(criteria={"taste": "left"}))

    assert list(refusal.value.fields) == ["criteria"]
    assert labels(engine) == []
    assert seat_states(engine, task_id) == [("leased", cast.mary)]


def test_a_rating_is_stored(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1, kind="rating")
    claimed(engine, cast.demo, cast.mary)

    record(engine, task_id, cast.mary, Verdict("c", overall=4, criteria={"fluency": 5}, flags={"response": ["off_topic"]}))

    (label,) = labels(engine)
    assert (label.kind, label.overall, label.criteria, label.flags) == ("rating", 4, {"fluency": 5}, {"response": ["off_topic"]})
    assert label.right_generation_id is None


def test_a_label_remembers_the_guidelines_and_the_reward_model_it_was_given_under(engine: Engine, cast: Cast) -> None:
    (task_id,) = make_tasks(engine, cast.demo, 1)
    claimed(engine, cast.demo, cast.mary)
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        project.guideline_version = 4
        task = session.get_one(Task, task_id)
        task.served_reason, task.reward_checkpoint_id = "uncertain", project.policy_id

    record(engine, task_id, cast.mary, say())

    (label,) = labels(engine)
    assert (label.guideline_version, label.served_reason) == (4, "uncertain")
    assert label.reward_checkpoint_id is not None


def test_a_lease_is_renewed_only_while_it_is_ones_own(engine: Engine, cast: Cast, task_id: int) -> None:
    later = NOON + timedelta(minutes=9)
    with write_session(engine) as session:
        assert lease.renew(session.connection(), task_id, cast.mary, now=later, lease=LEASE) == later + LEASE
    claimed(engine, cast.demo, cast.alan, NOON + timedelta(minutes=30))
    with write_session(engine) as session, pytest.raises(Conflict):
        lease.renew(session.connection(), task_id, cast.mary, now=later, lease=LEASE)


def test_a_skip_needs_a_seat_and_is_refused_after_an_answer(engine: Engine, cast: Cast, task_id: int) -> None:
    with pytest.raises(NotFound):
        skip(engine, task_id, cast.alan)
    record(engine, task_id, cast.mary, say())
    with pytest.raises(Conflict):
        skip(engine, task_id, cast.mary)
    assert seat_states(engine, task_id) == [("done", cast.mary)]


def test_an_answered_task_is_not_skipped_even_once_its_seat_was_given_back(engine: Engine, cast: Cast, task_id: int) -> None:
    with write_session(engine) as session:
        lease.give_back(session.connection(), task_id, cast.mary, NOON + LEASE, now=NOON)
    record(engine, task_id, cast.mary, say())

    with pytest.raises(Conflict):
        skip(engine, task_id, cast.mary, "not_my_subject")
    assert [label.current for label in labels(engine)] == [True]


def test_skipping_twice_is_skipping_once(engine: Engine, cast: Cast, task_id: int) -> None:
    skip(engine, task_id, cast.mary)
    skip(engine, task_id, cast.mary)

    assert seat_states(engine, task_id) == [("free", None)]


def test_a_verdict_on_its_way_may_name_what_was_taken_away_meanwhile(engine: Engine, cast: Cast, task_id: int) -> None:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        kept = [flag for flag in project.flags if flag["key"] != "untrue"]
        update_project(session, project, {"criteria": [], "flags": kept}, by=None)

    record(engine, task_id, cast.mary, say("right", criteria={"fluency": "left"}, flags={"left": ["untrue"]}))

    (label,) = labels(engine)
    assert (label.criteria, label.flags) == ({"fluency": "left"}, {"left": ["untrue"]})
    with pytest.raises(Invalid):
        record(engine, task_id, cast.mary, say("right", flags={"left": ["never_was"]}))
