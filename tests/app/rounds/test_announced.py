"""Each decision over a round is announced, and each end without one; in the words of the overview and for programs."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.models import Announcement, Project
from app.rounds import service
from app.runs import checkpoints
from app.webhooks.announcing import latest
from tests.app.conftest import Cast
from tests.app.rounds.test_service import candidate_round, end, make_labels, stage
from trainer.contract.english import english
from trainer.contract.messages import Message, as_json


def announced(session: Session, project: Project) -> list[Announcement]:
    return latest(session, project.id, 20)[::-1]


def test_a_round_that_waits_and_is_promoted_and_going_back(session: Session, demo: Project, cast: Cast) -> None:
    base = demo.policy_id
    round_ = candidate_round(session, demo, cast)
    candidate = checkpoints.get_checkpoint(session, round_.candidate_id or 0)
    service.promote(session, candidate, cast.grace)
    service.promote(session, checkpoints.get_checkpoint(session, base or 0), cast.grace, reason="It was kinder.")
    told = announced(session, demo)
    assert [one.event for one in told] == ["round.waits", "round.decided", "policy.promoted"]
    assert [english(one.message) for one in told] == [
        "Round 1 waits for the decision of an admin.",
        f"Round 1: “{english(candidate.name)}” was promoted.",
        "“Base model” was made the policy. It was kinder.",
    ]
    assert told[1].round_id == round_.id
    assert told[1].data == {
        "project": {"id": demo.id, "slug": "demo"},
        "round": {"id": round_.id, "number": 1},
        "decision": "promoted",
        "checkpoint": candidate.id,
        "by": cast.grace,
    }


def test_a_rejection_with_its_reason(session: Session, demo: Project, cast: Cast) -> None:
    round_ = candidate_round(session, demo, cast)
    service.reject(session, round_, cast.grace, "It is rude.")
    last = announced(session, demo)[-1]
    assert (last.event, last.data["decision"]) == ("round.decided", "rejected")
    assert last.data["reason"] == as_json(Message("written", text="It is rude."))
    assert english(last.message) == "Round 1: its candidate was turned down. It is rude."


def test_a_round_that_fails_or_stops_itself(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    failing = service.start_round(session, demo, "admin", cast.grace)
    run = stage(session, failing)[0]
    end(session, run, "failed", reason=as_json(Message("worker_died")))
    refused = service.start_round(session, demo, "admin", cast.grace)
    end(session, stage(session, refused)[0], gate_passed=False)
    assert [one.event for one in announced(session, demo)] == ["round.failed", "round.refused"]
    assert english(announced(session, demo)[0].message) == "Round 1 failed. The worker died three times while it did this run."


def test_nobody_is_told_of_a_round_that_somebody_cancels(session: Session, demo: Project, cast: Cast) -> None:
    make_labels(session, demo, 30, cast.mary)
    service.cancel_round(session, service.start_round(session, demo, "admin", cast.grace), cast.grace)
    assert announced(session, demo) == []
