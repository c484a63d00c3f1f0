"""A reviewer settles what people differ on, blind to names, or sends a verdict back; what training learns follows."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.database.engine import read_session, write_session
from app.errors import Conflict, Invalid, NotFound
from app.labels.verdict import Verdict
from app.labels.withdraw import withdraw
from app.models import AuditEntry, Doubt, Generation, Label, Membership, Project, Seat, User, utc_now
from app.quality.adjudication import doubts, service
from app.queue.claim import second_stands_left
from app.runs.usable_labels import usable_label_count, usable_labels
from tests.app.conftest import Cast
from tests.app.labels.test_record import record, say
from tests.app.quality.adjudication.differing import differ, dispute_of, open_dispute
from tests.app.queue.test_claim import NOON

Api = Callable[..., TestClient]
V1 = "/api/v1/projects/demo"


def two_differ(engine: Engine, cast: Cast) -> tuple[int, int]:
    return open_dispute(engine, cast.demo, {cast.mary: {"choice": "tie"}, cast.grace: {"choice": "both_bad"}})


def settle(engine: Engine, cast: Cast, dispute_id: int, verdict: Verdict | None = None, who: int = 0) -> int:
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        stored = service.settle(session, project, dispute_id, who or cast.alan, verdict or say("left"), interface="test")
        return stored.id


def trains(engine: Engine, cast: Cast) -> list[int]:
    with read_session(engine) as session:
        found = [label.annotator_id for label, _, _ in session.execute(usable_labels(cast.demo))]
        assert usable_label_count(session, cast.demo) == len(found)
        return sorted(found)


def test_the_reviewers_verdict_trains_in_place_of_all_others_which_are_kept(engine: Engine, cast: Cast) -> None:
    dispute_id, task_id = two_differ(engine, cast)
    assert trains(engine, cast) == sorted([cast.mary, cast.grace])
    label_id = settle(engine, cast, dispute_id, say("left", comment="The first says why."))
    assert trains(engine, cast) == [cast.alan]
    with read_session(engine) as session:
        dispute = dispute_of(session, task_id)
        assert dispute is not None
        assert (dispute.state, dispute.settled_by) == ("settled", cast.alan)
        label = session.get_one(Label, label_id)
        assert (label.served_reason, label.overruled, label.comment) == ("review", False, "The first says why.")
        kept = session.scalars(select(Label).where(Label.task_id == task_id, Label.annotator_id != cast.alan)).all()
        assert [(one.current, one.overruled) for one in kept] == [(True, True)] * 2
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "dispute.settled")).one()
        assert entry.details == {"reason": "The first says why."}


def test_what_stands_left_is_what_the_reviewer_saw_there(engine: Engine, cast: Cast) -> None:
    for _ in range(6):
        dispute_id, task_id = two_differ(engine, cast)
        with read_session(engine) as session:
            case = service.case(session, session.get_one(Project, cast.demo), dispute_id, cast.alan)
        label_id = settle(engine, cast, dispute_id)
        with read_session(engine) as session:
            label = session.get_one(Label, label_id)
            answer = session.scalars(select(Generation).where(Generation.id == label.left_generation_id)).one()
            assert answer.text == case.task.left
            assert session.scalars(select(Seat.swapped).where(Seat.id == label.seat_id)).one() == second_stands_left(
                task_id, cast.alan
            )


def test_verdicts_are_told_on_the_reviewers_sides_and_without_names(
    engine: Engine, cast: Cast, api: Api, as_user: Callable[[str], TestClient]
) -> None:
    turned = set()
    with write_session(engine) as session:
        item = {"key": "sourced", "name": "Is there a source?", "description": "", "required": False, "version": 1}
        words = {"earlier": [], "since": "2026-01-01T00:00:00+00:00"}
        session.get_one(Project, cast.demo).rubric = [item | words]
        reason = {"key": "wrong", "name": "wrong", "description": "", "tone": "bad", "version": 1}
        session.get_one(Project, cast.demo).span_reasons = [reason | words]
    for _ in range(8):
        asked = {"sourced": {"version": 1, "left": "yes"}}
        mark = {"start": 0, "end": 2, "reason": "wrong"}
        marks = {"reasons": {"wrong": 1}, "left": [mark]}
        said = {
            "choice": "left",
            "spans": marks,
            "criteria": {},
            "flags": {"left": ("untrue",)},
            "rubric": asked,
            "comment": "Shorter.",
        }
        dispute_id, task_id = open_dispute(engine, cast.demo, {cast.mary: said, cast.grace: {"choice": "tie"}})
        turns = second_stands_left(task_id, cast.mary) != second_stands_left(task_id, cast.alan)
        turned.add(turns)
        reply = api("annotate", who="Alan").get(f"{V1}/disputes/{dispute_id}")
        assert reply.status_code == 200, reply.text
        (mine,) = [one for one in reply.json()["said"] if one["comment"]]
        side = "right" if turns else "left"
        assert (mine["choice"], mine["flags"]) == (side, {side: ["untrue"]})
        assert mine["rubric"] == {"sourced": {"version": 1, side: "yes"}}
        (marked,) = mine["spans"].pop(side)
        assert (mine["spans"], marked | {"quote": ""}) == ({"reasons": {"wrong": 1}}, mark | {"quote": ""})
        page = as_user("Alan").get(f"/projects/demo/disputes/{dispute_id}").text
        assert f"{'B' if turns else 'A'} yes" in page[page.index("Is there a source?") :][:60]
        assert f"{'B' if turns else 'A'} − " in page[: page.index(f'<q dir="auto">{marked["quote"]}</q>')][-60:]
        for name in ("Mary", "Grace", "annotator"):
            assert name not in reply.text
    assert turned == {True, False}


def test_nobody_settles_what_they_judged_and_only_one_reviewer_settles_it(engine: Engine, cast: Cast) -> None:
    dispute_id, _ = two_differ(engine, cast)
    with write_session(engine) as session:
        assert service.next_open(session, cast.demo, cast.grace) is None
        assert service.next_open(session, cast.demo, cast.alan) == dispute_id
        assert [one.mine for one in service.disputes(session, cast.demo, "open", cast.grace)] == [True]
    with pytest.raises(Conflict, match="judged this task yourself"):
        settle(engine, cast, dispute_id, who=cast.grace)
    first = settle(engine, cast, dispute_id)
    with pytest.raises(Conflict, match="Another reviewer"):
        settle(engine, cast, dispute_id, who=cast.ada)
    with pytest.raises(NotFound):
        settle(engine, cast, dispute_id + 1)
    second = settle(engine, cast, dispute_id, say("tie"))
    with read_session(engine) as session:
        assert session.get_one(Label, second).supersedes_id == first
    assert trains(engine, cast) == [cast.alan]


def test_the_same_send_again_settles_once(engine: Engine, cast: Cast) -> None:
    dispute_id, _ = two_differ(engine, cast)
    verdict = say("left")
    assert settle(engine, cast, dispute_id, verdict) == settle(engine, cast, dispute_id, verdict)
    with read_session(engine) as session:
        assert len(session.scalars(select(AuditEntry).where(AuditEntry.action == "dispute.settled")).all()) == 1


def test_a_settlement_that_is_withdrawn_lets_the_others_train_again(engine: Engine, cast: Cast) -> None:
    dispute_id, task_id = two_differ(engine, cast)
    settle(engine, cast, dispute_id)
    with write_session(engine) as session:
        withdraw(session.connection(), task_id, cast.alan, str(uuid.uuid4()), interface="test", now=utc_now())
    assert trains(engine, cast) == sorted([cast.mary, cast.grace])
    with read_session(engine) as session:
        dispute = dispute_of(session, task_id)
        assert dispute is not None
        assert (dispute.state, dispute.settled_by) == ("open", None)
    with pytest.raises(Conflict, match="took back"):  # on the desk, where nobody looks whether people still differ
        record(engine, task_id, cast.alan, say("tie"))
    assert trains(engine, cast) == sorted([cast.mary, cast.grace])
    settle(engine, cast, dispute_id, who=cast.ada)
    with pytest.raises(Conflict, match="Another reviewer"):
        record(engine, task_id, cast.alan, say("tie"))
    assert trains(engine, cast) == [cast.ada]


def test_a_correction_of_what_was_settled_changes_nothing_of_it(engine: Engine, cast: Cast) -> None:
    dispute_id, task_id = two_differ(engine, cast)
    settle(engine, cast, dispute_id)
    record(engine, task_id, cast.mary, say("both_bad"))
    assert trains(engine, cast) == [cast.alan]
    record(engine, task_id, cast.alan, say("right"))  # on the desk
    assert trains(engine, cast) == [cast.alan]
    with read_session(engine) as session:
        dispute = dispute_of(session, task_id)
        assert dispute is not None
        assert dispute.state == "settled"


def sent(engine: Engine, cast: Cast, dispute_id: int, task_id: int, comment: str = "Did you see the date?") -> int:
    with write_session(engine) as session:
        label = session.scalars(
            select(Label).where(Label.task_id == task_id, Label.annotator_id == cast.mary, Label.current)
        ).one()
        project = session.get_one(Project, cast.demo)
        return service.send_back(session, project, dispute_id, label.id, comment, cast.alan).id


def state(engine: Engine, task_id: int) -> str:
    with read_session(engine) as session:
        dispute = dispute_of(session, task_id)
        assert dispute is not None
        return dispute.state


def test_who_is_asked_may_correct_their_verdict(engine: Engine, cast: Cast) -> None:
    dispute_id, task_id = two_differ(engine, cast)
    sent(engine, cast, dispute_id, task_id)
    assert state(engine, task_id) == "doubted"
    with read_session(engine) as session:
        (back,) = doubts.sent_back(session, cast.demo, cast.mary)
        assert (back.doubt.comment, back.label.choice) == ("Did you see the date?", "tie")
        assert doubts.sent_back(session, cast.demo, cast.grace) == []
    record(engine, task_id, cast.mary, say("left"))
    assert state(engine, task_id) == "open"  # they differ still
    with read_session(engine) as session:
        assert doubts.sent_back(session, cast.demo, cast.mary) == []
    sent(engine, cast, dispute_id, task_id, "And now?")
    record(engine, task_id, cast.mary, say("both_bad"))
    assert state(engine, task_id) == "closed"
    with pytest.raises(Conflict, match="come to agree"):
        settle(engine, cast, dispute_id)


def test_or_keep_it_and_say_why(engine: Engine, cast: Cast) -> None:
    dispute_id, task_id = two_differ(engine, cast)
    doubt_id = sent(engine, cast, dispute_id, task_id)
    for person, words, refusal in ((cast.grace, "Why?", NotFound), (cast.mary, "  ", Invalid)):
        with pytest.raises(refusal), write_session(engine) as session:
            doubts.answer(session, cast.demo, doubt_id, person, words)
    with write_session(engine) as session:
        doubts.answer(session, cast.demo, doubt_id, cast.mary, "I did: both are right.")
    assert state(engine, task_id) == "open"
    with pytest.raises(Conflict), write_session(engine) as session:
        doubts.answer(session, cast.demo, doubt_id, cast.mary, "Again.")
    with pytest.raises(Conflict, match="sent back already"):
        sent(engine, cast, dispute_id, task_id)
    with read_session(engine) as session:
        case = service.case(session, session.get_one(Project, cast.demo), dispute_id, cast.alan)
        assert [doubt.answer for one in case.said for doubt in one.doubts] == ["I did: both are right."]


def test_settling_takes_back_what_was_asked(engine: Engine, cast: Cast) -> None:
    dispute_id, task_id = two_differ(engine, cast)
    sent(engine, cast, dispute_id, task_id)
    settle(engine, cast, dispute_id)
    with read_session(engine) as session:
        assert doubts.sent_back(session, cast.demo, cast.mary) == []
        assert session.scalars(select(Doubt.closed_at)).one() is not None
    with pytest.raises(Conflict, match="settled"):
        sent(engine, cast, dispute_id, task_id)


def test_by_key(engine: Engine, cast: Cast, api: Api) -> None:
    dispute_id, task_id = two_differ(engine, cast)
    alan, mary = api("annotate", who="Alan"), api("annotate", who="Mary")
    (listed,) = alan.get(f"{V1}/disputes").json()["items"]
    assert (listed["id"], listed["task_id"], listed["verdicts"], listed["mine"]) == (dispute_id, task_id, 2, False)
    assert mary.get(f"{V1}/disputes").status_code == 403
    label = alan.get(f"{V1}/disputes/{dispute_id}").json()["said"][0]["label_id"]
    assert alan.post(f"{V1}/disputes/{dispute_id}/doubts", json={"label_id": label, "comment": "Sure?"}).status_code == 201
    assert alan.get(f"{V1}/disputes?state=doubted").json()["items"][0]["id"] == dispute_id
    who = mary if mary.get(f"{V1}/doubts").json()["items"] else api("annotate", who="Grace")
    (back,) = who.get(f"{V1}/doubts").json()["items"]
    assert (back["label_id"], back["comment"]) == (label, "Sure?")
    assert who.post(f"{V1}/doubts/{back['id']}/answer", json={"answer": "Yes."}).status_code == 204
    verdict = {"client_id": str(uuid.uuid4()), "choice": "right", "comment": "Clearer."}
    reply = alan.post(f"{V1}/disputes/{dispute_id}/settlement", json=verdict)
    assert reply.status_code == 200, reply.text
    assert alan.post(f"{V1}/disputes/{dispute_id}/settlement", json=verdict).json() == reply.json()
    assert alan.get(f"{V1}/disputes?state=settled").json()["items"][0]["settled_at"] is not None
    assert alan.get(f"{V1}/disputes").json()["items"] == []


def test_who_only_annotates_sees_and_settles_nothing(engine: Engine, cast: Cast, api: Api) -> None:
    dispute_id, _ = two_differ(engine, cast)
    with write_session(engine) as session:
        alan = session.scalars(select(Membership).join(User, User.id == Membership.user_id).where(User.id == cast.alan)).one()
        alan.role = "annotator"
    verdict = {"client_id": str(uuid.uuid4()), "choice": "right"}
    key = api("annotate", who="Alan")
    assert key.get(f"{V1}/disputes/{dispute_id}").status_code == 403
    assert key.post(f"{V1}/disputes/{dispute_id}/settlement", json=verdict).status_code == 403


def test_who_may_still_be_asked_is_not_shown_what_the_others_said(
    engine: Engine, cast: Cast, api: Api, as_user: Callable[[str], TestClient]
) -> None:
    """A reviewer who read it and then took the task from the queue would be no further person."""
    with write_session(engine) as session:
        said = {cast.mary: {"choice": "tie", "comment": "I cannot tell."}, cast.grace: {"choice": "both_bad"}}
        task = differ(session, session.get_one(Project, cast.demo), said, extra_seats=1)
        dispute = dispute_of(session, task.id)
        assert dispute is not None
        assert dispute.state == "asking"
        dispute_id, task_id = dispute.id, task.id
    alan = api("annotate", who="Alan")
    told = alan.get(f"{V1}/disputes/{dispute_id}").json()
    assert (told["said"], told["kept_back"], told["verdicts"]) == ([], True, 2)
    page = as_user("Alan").get(f"/projects/demo/disputes/{dispute_id}").text
    assert "that may be you" in page
    assert "I cannot tell." not in page
    whose = api("annotate", who="Grace").get(f"{V1}/disputes/{dispute_id}").json()
    assert (len(whose["said"]), whose["kept_back"]) == (2, False), "who has judged it is not asked again"
    with write_session(engine) as session:
        seat = session.scalars(select(Seat).where(Seat.task_id == task_id, Seat.state == "free")).one()
        seat.state, seat.annotator_id, seat.claimed_at, seat.lease_until = "leased", cast.eve, NOON, NOON
        session.flush()
    record(engine, task_id, cast.eve, say("left"))
    assert len(alan.get(f"{V1}/disputes/{dispute_id}").json()["said"]) == 3
