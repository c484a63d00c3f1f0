"""The alarm: a candidate whose score rose and whom people do not prefer. It is said, and nobody promotes it without a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.contenders.service import contender_of, name_stranger
from app.database.engine import read_session, write_session
from app.errors import Conflict
from app.evaluation.alarm import alarm_now
from app.models import AuditEntry, Checkpoint, Contender, Drawn, EvaluationCandidate, Generation, Project, Run, utc_now
from app.prompts.search import put_away
from app.rounds import service
from app.runs.checkpoints import get_checkpoint, turned_down
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.evaluation.judged import Judged, begin, evaluation_of, policy_of, round_of, taste, work
from tests.postgres import engine as on_postgres
from tests.postgres import server
from trainer.contract.messages import Message

__all__ = ["on_postgres", "server"]

V1 = "/api/v1"
Browser = Callable[[str], TestClient]


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue("engine" if request.param == "sqlite" else "on_postgres")
    return found


def rejected(engine: Engine, share: float = 0.0, **settings: Any) -> Judged:
    """A round whose candidate people turned down; its answers score 1.25, those of the policy in force .25."""
    judged = begin(engine, prompts=30, train=5, evaluation_share=0.9, **settings)
    work(engine, judged, taste(share))
    return judged


def candidate_of(engine: Engine, judged: Judged) -> EvaluationCandidate:
    with read_session(engine) as session:
        mine = select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == judged.evaluation)
        found = session.scalars(mine.where(EvaluationCandidate.promotable)).one()
        session.expunge(found)
        return found


def test_an_alarm_is_noted_with_the_scores_and_with_what_people_said(either: Engine) -> None:
    judged = rejected(either)
    alarm = candidate_of(either, judged).alarm
    assert alarm is not None
    assert (alarm.code, alarm.arguments["before"], alarm.arguments["after"]) == ("alarm_of_answers", 0.25, 1.25)
    with read_session(either) as session:
        noted = session.scalars(select(AuditEntry).where(AuditEntry.action == "evaluation.alarmed")).all()
        assert [entry.subject for entry in noted] == [f"checkpoint {judged.candidate}"]
        assert noted[0].details["score"] == 1.25
        found = alarm_now(session, judged.project)
        assert found is not None
        assert (found[0].id, found[1]) == (judged.evaluation, alarm)


def test_it_stands_until_people_have_decided_on_something_later(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session)
        earlier = factories.make_evaluation(session, project.id, state="open")
        first = factories.make_evaluation(session, project.id, state="decided", decision="rejected", ended_at=utc_now())
        alarm = Message("written", text="It rose.")
        session.add(EvaluationCandidate(evaluation_id=first.id, contender_id=first.baseline_id, alarm=alarm))
        session.flush()
        factories.make_evaluation(session, project.id, state="answering")
        factories.make_evaluation(
            session, project.id, state="decided", decision="rejected", ended_at=utc_now() - timedelta(days=1)
        )
        assert alarm_now(session, project.id) == (first, alarm), "begun later, decided before"
        earlier.state, earlier.decision, earlier.ended_at = "decided", "rejected", utc_now()
        assert alarm_now(session, project.id) is None


def test_whether_people_turned_a_policy_down_is_what_they_decided_last(engine: Engine) -> None:
    """Of two evaluations of it the one that was begun first was decided last."""
    with write_session(engine) as session:
        project = factories.make_project(session)
        policy = factories.make_checkpoint(session, project.id, parent_id=project.policy_id)
        contender = contender_of(session, policy)
        for said, days in (("rejects", 1), ("promotes", 2)):
            ended = utc_now() - timedelta(days=days)
            evaluation = factories.make_evaluation(session, project.id, state="decided", decision="rejected", ended_at=ended)
            standing = {"rejects": False, "promotes": False, "units": 40} | {said: True}
            mine = {"evaluation_id": evaluation.id, "contender_id": contender.id, "promotable": True}
            session.add(EvaluationCandidate(**mine, standing=standing))
        session.flush()
        assert turned_down(session, policy) is not None


def decided_on(session: Session, policy: Checkpoint, baseline: Contender, said: str) -> None:
    """Outside of rounds, after all that was decided before."""
    ended = utc_now() + timedelta(minutes=1)
    later = factories.make_evaluation(session, policy.project_id, state="decided", decision="rejected", ended_at=ended)
    later.baseline_id = baseline.id
    standing = {"rejects": False, "promotes": False, "units": 40} | {said: True}
    session.add(EvaluationCandidate(evaluation_id=later.id, contender_id=contender_of(session, policy).id, standing=standing))
    session.flush()


def test_a_win_over_something_else_undoes_no_refusal(engine: Engine) -> None:
    judged = rejected(engine)
    with write_session(engine) as session:
        policy, project = get_checkpoint(session, judged.candidate), session.get_one(Project, judged.project)
        lost_to = contender_of(session, get_checkpoint(session, project.policy_id or 0))
        weak = factories.make_checkpoint(session, project.id, parent_id=project.policy_id)
        decided_on(session, policy, name_stranger(session, project, "Nonsense", None), "promotes")
        decided_on(session, policy, contender_of(session, weak), "promotes")
        for in_force in (project.policy_id, weak.id):
            project.policy_id = in_force
            with pytest.raises(Conflict, match="only with a reason"):
                service.promote(session, policy, None, confirmed=True)
        decided_on(session, policy, lost_to, "promotes")
        assert turned_down(session, policy) is None


def test_what_a_policy_lost_to_anything_but_the_one_in_force_is_no_refusal(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session)
        base = get_checkpoint(session, project.policy_id or 0)
        policy, now = (factories.make_checkpoint(session, project.id, parent_id=base.id) for _ in range(2))
        reward = factories.make_checkpoint(session, project.id, kind="reward", parent_id=base.id)
        project.policy_id = now.id
        chosen = contender_of(session, now, Drawn(4, reward.id))
        for other in (name_stranger(session, project, "A model outside", None), contender_of(session, base), chosen):
            decided_on(session, policy, other, "rejects")
            assert turned_down(session, policy) is None
        decided_on(session, policy, contender_of(session, now), "rejects")
        assert turned_down(session, policy) is not None
        project.policy_id = base.id
        assert turned_down(session, policy) is not None, "it had lost to that one, too"


def test_where_people_prefer_it_or_nothing_rose_there_is_none(engine: Engine) -> None:
    assert candidate_of(engine, rejected(engine, 1.0)).alarm is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.app.evaluation.judged.SCORES", {"old": 1.25, "new": 0.25})
        assert candidate_of(engine, rejected(engine)).alarm is None


def test_people_who_lean_towards_it_and_are_too_few_contradict_no_score(engine: Engine) -> None:
    """Nothing is shown, so that it is not promoted; that is no alarm. More losses than wins are one."""
    for turns, leans in (("new new old", True), ("old old new", False)):
        liked = cycle(turns.split())  # of the verdicts in the evaluation, in their order

        def prefers(left: str, right: str, liked: Iterator[str] = liked) -> str:
            if not left.startswith(("new", "old")):
                return "left"
            return "left" if left.startswith(next(liked)) else "right"

        judged = begin(engine, prompts=30, train=5, evaluation_share=0.9, evaluation_budget=20)
        work(engine, judged, prefers)
        candidate = candidate_of(engine, judged)
        assert round_of(engine, judged).decision == "rejected"
        assert candidate.standing is not None
        assert candidate.standing["spent"]
        assert (candidate.standing["mean"] > 0.5) is leans
        assert (candidate.alarm is None) is leans


def test_where_nobody_was_asked_anything_nobody_contradicts_a_score(engine: Engine) -> None:
    """All its prompts are put away before the first is asked about, so that nothing is shown."""
    judged = begin(engine, prompts=30, train=5, evaluation_share=0.9)
    with write_session(engine) as session:
        put_away(session, judged.project, evaluation_of(engine, judged).prompt_ids, None)
        run = session.get_one(Run, get_checkpoint(session, judged.candidate).run_id)
        run.result = {"score_before": -0.1, "score": 0.9, "heldout_gain": 0.5}
    work(engine, judged, taste(0.0))
    candidate = candidate_of(engine, judged)
    assert evaluation_of(engine, judged).decision is None
    assert not (candidate.standing or {}).get("rejects")
    assert candidate.alarm is None
    with read_session(engine) as session:
        assert alarm_now(session, judged.project) is None


def test_where_no_answer_was_scored_the_score_of_its_training_counts(engine: Engine) -> None:
    judged = begin(engine, prompts=30, train=5, evaluation_share=0.9)
    with write_session(engine) as session:
        for generation in session.scalars(select(Generation)):
            generation.settings = {}
        run = session.get_one(Run, get_checkpoint(session, judged.candidate).run_id)
        run.result = {"score_before": -0.1, "score": 0.9, "heldout_gain": 0.5}
    work(engine, judged, taste(0.0))
    alarm = candidate_of(engine, judged).alarm
    assert alarm is not None
    assert (alarm.code, alarm.arguments["before"], alarm.arguments["after"]) == ("alarm_of_training", -0.1, 0.9)


@pytest.fixture
def alarmed(engine: Engine, cast: Cast) -> Judged:
    judged = rejected(engine, slug="alarmed")
    with write_session(engine) as session:
        factories.make_membership(session, cast.grace, judged.project, "admin")
    return judged


def test_no_door_promotes_it_without_a_reason(
    api: Callable[..., TestClient], as_user: Browser, engine: Engine, alarmed: Judged
) -> None:
    why = "The alarm stands"
    old = policy_of(engine, alarmed)
    program, grace = api("admin", who="Grace"), as_user("Grace")
    for body in ({}, {"confirm": True}, {"confirm": True, "reason": "  \n"}):
        refused = program.post(f"{V1}/checkpoints/{alarmed.candidate}/promote", json=body)
        assert (refused.status_code, why in refused.json()["detail"]) == (409, True)
        form = {name: "yes" if value is True else value for name, value in body.items()}
        shown = grace.post(f"/checkpoints/{alarmed.candidate}/promotion", data=form)
        assert (shown.status_code, why in shown.text) == (409, True)
    with write_session(engine) as session, pytest.raises(Conflict, match=why):
        service.promote(session, get_checkpoint(session, alarmed.candidate), None, confirmed=True)
    assert policy_of(engine, alarmed) == old

    kept = "They did not see the <tables>."
    given = {"confirm": True, "reason": kept}
    assert program.post(f"{V1}/checkpoints/{alarmed.candidate}/promote", json=given).status_code == 200
    assert policy_of(engine, alarmed) == alarmed.candidate
    with read_session(engine) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "policy.promoted")).one()
    assert (entry.details["reason"], entry.details["against"]) == (kept, "alarm")
    for page in ("/projects/alarmed/audit", f"/checkpoints/{alarmed.candidate}", f"/rounds/{alarmed.round}"):
        assert "They did not see the &lt;tables&gt;." in grace.get(page).text
    assert "what people said, and the alarm" in grace.get("/projects/alarmed/audit").text

    assert program.post(f"{V1}/checkpoints/{old}/promote").status_code == 200, "people never turned that one down"
    back = grace.post(f"/checkpoints/{alarmed.candidate}/promotion")
    assert (back.status_code, why in back.text) == (409, True), "going back to it needs one, too"


def test_nor_the_decision_that_a_round_asks_of_an_admin(as_user: Browser, engine: Engine, cast: Cast) -> None:
    judged = rejected(engine, slug="by-hand", evaluation_promotes=False)
    with write_session(engine) as session:
        factories.make_membership(session, cast.grace, judged.project, "admin")
    grace = as_user("Grace")
    page = grace.get(f"/rounds/{judged.round}").text
    assert round_of(engine, judged).state == "decision"
    assert "Alarm: the score rose, and people do not agree" in page
    assert f'id="reason-{judged.candidate}" name="reason" rows="2" required' in page
    assert grace.post(f"/checkpoints/{judged.candidate}/promotion").status_code == 409
    assert round_of(engine, judged).state == "decision"
    kept = grace.post(f"/checkpoints/{judged.candidate}/promotion", data={"reason": "A demonstration."})
    assert kept.status_code == 303
    assert "“A demonstration.”" in grace.get(f"/rounds/{judged.round}").text


def test_without_an_alarm_too_people_who_turned_it_down_are_overruled_with_a_reason_only(
    as_user: Browser, engine: Engine, cast: Cast
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.app.evaluation.judged.SCORES", {"old": 1.25, "new": 0.25})
        judged = rejected(engine, slug="turned-down")
    with write_session(engine) as session:
        factories.make_membership(session, cast.grace, judged.project, "admin")
    grace = as_user("Grace")
    refused = grace.post(f"/checkpoints/{judged.candidate}/promotion", data={"confirm": "yes"})
    assert (refused.status_code, "People turned this policy down" in refused.text) == (409, True)
    assert "Alarm" not in grace.get(f"/rounds/{judged.round}").text


def test_a_later_yes_of_people_needs_no_reason(as_user: Browser, engine: Engine, alarmed: Judged) -> None:
    with write_session(engine) as session:
        before = session.scalars(
            select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == alarmed.evaluation).limit(1)
        ).one()
        later = factories.make_evaluation(session, alarmed.project, state="open")
        standing = dict(before.standing or {}) | {"rejects": False, "promotes": True}
        session.add(EvaluationCandidate(evaluation_id=later.id, contender_id=before.contender_id, standing=standing))
    assert as_user("Grace").post(f"/checkpoints/{alarmed.candidate}/promotion").status_code == 303


def test_the_overview_the_lists_and_the_evaluation_say_it(
    api: Callable[..., TestClient], as_user: Browser, alarmed: Judged
) -> None:
    grace = as_user("Grace")
    overview = grace.get("/projects/alarmed").text
    assert "Alarm: the score rose, and people do not agree" in overview
    assert f'<a href="/rounds/{alarmed.round}">Round 1</a>' in overview
    for page in (overview, grace.get("/projects/alarmed/rounds").text):
        assert '<span class="badge badge--danger">alarm</span>' in page
    candidates = api("admin", who="Grace").get(f"{V1}/evaluations/{alarmed.evaluation}").json()["candidates"]
    assert candidates[0]["coded_alarm"]["code"] == "alarm_of_answers"
    assert candidates[0]["alarm"].startswith("The reward model scores its answers to held-out prompts at 1.25 on average")
    assert candidates[1]["coded_alarm"] is None
