"""Evaluations that end without a verdict: nobody is promoted, and nobody was turned down."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.evaluation.decision import Evidence, decide
from app.evaluation.evidence import said_of
from app.evaluation.look import reason_of, standing_of
from app.models import Announcement, AuditEntry, Checkpoint, Evaluation, EvaluationCandidate, Round, utc_now
from app.prompts.search import put_away
from app.queue.claim import claim_next
from app.queue.lease import skip
from app.rounds import people_decide
from app.runs.checkpoints import turned_down
from tests.app.evaluation.judged import begin, evaluation_of, round_of
from trainer.contract.messages import Message


def test_where_nobody_could_be_asked_nothing_is_decided_and_nobody_was_turned_down(engine: Engine) -> None:
    judged = begin(engine, prompts=10, train=0, evaluation_budget=10)
    with write_session(engine) as session:
        put_away(session, judged.project, evaluation_of(engine, judged).prompt_ids, None)
    for _ in range(3):
        people_decide.look_after(engine, judged.project)
    with read_session(engine) as session:
        evaluation, round_ = session.get_one(Evaluation, judged.evaluation), session.get_one(Round, judged.round)
        assert (evaluation.state, evaluation.decision, round_.state, round_.decision) == ("cancelled", None, "decision", None)
        assert evaluation.reason is not None
        assert evaluation.reason.code == "nothing_to_compare"
        assert turned_down(session, session.get_one(Checkpoint, judged.candidate)) is None
        told = session.scalars(select(Announcement).where(Announcement.round_id == judged.round)).all()
        assert [(one.event, one.data["reason"]["code"]) for one in told] == [("round.waits", "nothing_to_compare")]
        noted = session.scalars(select(AuditEntry.action).where(AuditEntry.project_id == judged.project)).all()
        assert "evaluation.undecided" in noted
        assert not {"evaluation.decided", "policy.rejected"} & set(noted)


def test_where_everybody_passed_everything_over_nothing_is_decided(engine: Engine) -> None:
    judged = begin(engine, prompts=6, train=0, people=1, evaluation_budget=6)
    for _ in range(20):
        people_decide.look_after(engine, judged.project)
        with write_session(engine) as session:
            person, now = judged.people[0], utc_now()
            served = claim_next(session.connection(), judged.project, person, now=now, lease=timedelta(minutes=1))
            if served is not None:
                skip(session.connection(), served.id, person, "unclear", now=now)
    evaluation = evaluation_of(engine, judged)
    assert (evaluation.state, evaluation.reason.code if evaluation.reason else "") == ("cancelled", "nobody_judged")
    assert round_of(engine, judged).state == "decision"


def test_a_candidate_about_which_nobody_was_asked_beside_another_was_not_turned_down(engine: Engine) -> None:
    judged = begin(engine, prompts=20, train=0, evaluation_budget=20)
    with write_session(engine) as session:
        asked = session.scalars(select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == judged.evaluation)).first()
        assert asked is not None
        none = standing_of(decide({1: Evidence([], complete=True)}, planned=20).verdicts[1], said_of([], 1, {}, ended=True))
        lost = none | {"units": 20, "verdicts": 20, "people": 3, "mean": 0.1}
        assert (none["rejects"], none["units"]) == (True, 0)
        asked.standing = none
        session.flush()
        assert turned_down(session, session.get_one(Checkpoint, judged.candidate)) is None
        asked.standing = lost
        session.flush()
        assert turned_down(session, session.get_one(Checkpoint, judged.candidate)) is not None
    figures = reason_of({7: none, 8: lost}, None).arguments["figures"]
    assert isinstance(figures, Message)
    assert figures.arguments["count"] == 20, "it tells of who was judged"
