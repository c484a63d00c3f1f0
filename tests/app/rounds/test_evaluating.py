"""A round whose candidate people judge blind, from the last answer written to the policy that is in force, on both databases."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from app.database.engine import read_session, write_session
from app.errors import Conflict
from app.evaluation import service as evaluations
from app.evaluation.decision import Evidence, Unit, decide
from app.evaluation.evidence import gather
from app.labels.record import record_label
from app.labels.verdict import Verdict
from app.labels.withdraw import withdraw
from app.models import AuditEntry, Evaluation, EvaluationCandidate, EvaluationTask, Label, Project, Round, Task, utc_now
from app.prompts.search import put_away
from app.queue.claim import claim_next
from app.queue.lease import skip
from app.rounds import evaluating, people_decide, service
from app.runs.checkpoints import get_checkpoint
from app.runs.usable_labels import usable_label_count
from tests.app import factories
from tests.app.evaluation.judged import begin, evaluation_of, judge_next, policy_of, purposes, round_of, taste, work
from tests.app.rounds.test_service import end, make_labels, stage
from tests.postgres import engine as on_postgres
from tests.postgres import server
from trainer.contract.messages import Message

__all__ = ["on_postgres", "server"]


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue("engine" if request.param == "sqlite" else "on_postgres")
    return found


def test_a_candidate_that_people_prefer_becomes_the_policy_by_itself(either: Engine) -> None:
    judged = begin(either)
    before = usable_labels(either, judged.project)
    round_ = work(either, judged, taste(0.85))
    assert (round_.state, round_.decision, round_.decided_by) == ("done", "promoted", None)
    assert policy_of(either, judged) == judged.candidate
    evaluation = evaluation_of(either, judged)
    assert (evaluation.state, evaluation.decision) == ("decided", "promoted")
    assert round_.reason is not None
    assert round_.reason.code == "people_prefer_it"
    assert float(str(round_.reason.arguments["low"])) >= 0.5
    with read_session(either) as session:
        noted = session.scalars(select(AuditEntry.action).where(AuditEntry.project_id == judged.project)).all()
        assert {"evaluation.decided", "policy.promoted"} <= set(noted)
    trained = purposes(either, judged.asked).count("train")
    assert usable_labels(either, judged.project) == before + trained, "what measures a candidate trains nothing"


def usable_labels(engine: Engine, project_id: int) -> int:
    with read_session(engine) as session:
        return usable_label_count(session, project_id)


def test_a_harmed_candidate_is_rejected_and_its_open_tasks_are_taken_back(either: Engine) -> None:
    judged = begin(either)
    old = policy_of(either, judged)
    round_ = work(either, judged, taste(0.15))
    assert (round_.state, round_.decision) == ("done", "rejected")
    assert policy_of(either, judged) == old
    with read_session(either) as session:
        unanswered = (
            select(func.count())
            .select_from(EvaluationTask)
            .where(~select(Label.id).where(Label.task_id == EvaluationTask.task_id).exists())
            .join(Task, Task.id == EvaluationTask.task_id)
            .where(Task.project_id == judged.project)
        )
        assert session.scalar(unanswered) == 0


def test_where_nothing_is_shown_within_the_budget_the_policy_stays(engine: Engine) -> None:
    judged = begin(engine, prompts=25, evaluation_budget=25)
    round_ = work(engine, judged, lambda left, right: "tie")
    assert (round_.decision, round_.reason and round_.reason.code) == ("rejected", "budget_spent")
    found = standing(engine, judged.evaluation)
    assert (found["units"], found["mean"], found["neither"]) == (25, 0.5, 25)


def test_a_candidate_that_wins_but_is_flagged_more_often_is_not_promoted(engine: Engine) -> None:
    flag = {"key": "untrue", "name": "Untrue", "description": "", "weight": 1.0}
    judged = begin(engine, flags=[flag], prompts=150)
    old = policy_of(engine, judged)
    round_ = work(engine, judged, taste(0.6), flags=lambda text: ["untrue"] if text.startswith("new") else [])
    assert round_.decision == "rejected"
    assert round_.reason is not None
    assert round_.reason.code == "flagged_more_often"
    assert policy_of(engine, judged) == old


def test_a_flag_that_comes_while_people_judge_is_looked_for_from_then_on(engine: Engine) -> None:
    judged = begin(engine, prompts=80, train=0)
    with pytest.raises(AssertionError, match="never ended"):
        work(engine, judged, lambda left, right: "tie", most=70)
    with write_session(engine) as session:
        flag = {"key": "rude", "name": "Rude", "description": "", "weight": 1.0}
        session.get_one(Project, judged.project).flags = [flag]
    with pytest.raises(AssertionError, match="never ended"):
        work(engine, judged, lambda left, right: "tie", most=30)  # some prompts are open at once: those ahead become full
    found = standing(engine, judged.evaluation)
    assert 0 < found["flags_since"]["rude"] <= found["units"]
    assert found["open_flags"] == ["rude"]


def test_by_hand_an_admin_is_shown_what_people_decided_and_decides(engine: Engine) -> None:
    judged = begin(engine, evaluation_promotes=False)
    old = policy_of(engine, judged)
    round_ = work(engine, judged, taste(0.9))
    assert round_.state == "decision"
    assert policy_of(engine, judged) == old
    assert evaluation_of(engine, judged).decision == "promoted"
    with write_session(engine) as session:
        service.promote(session, get_checkpoint(session, judged.candidate), judged.people[0], confirmed=True)
        assert session.get_one(Round, judged.round).decision == "promoted"
    assert evaluation_of(engine, judged).state == "decided"


def test_an_admin_need_not_wait_for_people(engine: Engine) -> None:
    judged = begin(engine)
    people_decide.look_after(engine, judged.project)
    with write_session(engine) as session:
        service.reject(session, session.get_one(Round, judged.round), None, "It is rude.")
        assert session.get_one(Round, judged.round).decision == "rejected"
        assert session.scalar(select(func.count()).select_from(EvaluationTask)) == 0
    assert evaluation_of(engine, judged).state == "cancelled"


def test_a_round_that_is_judged_can_be_cancelled_and_keeps_others_from_starting(engine: Engine) -> None:
    judged = begin(engine)
    with write_session(engine) as session:
        project = session.get_one(Project, judged.project)
        with pytest.raises(Conflict, match="judge the candidate of round 1"):
            service.start_round(session, project, "admin", None)
        service.cancel_round(session, session.get_one(Round, judged.round), None)
        assert session.get_one(Round, judged.round).state == "cancelled"
    assert evaluation_of(engine, judged).state == "cancelled"


def test_what_the_rounds_reward_foretells_is_kept_before_anybody_judges(engine: Engine) -> None:
    judged = begin(engine, prompts=200, evaluation_budget=50)
    with read_session(engine) as session:
        reward = session.get_one(Round, judged.round).reward_id
        runs = [run for run in service.runs_of_round(session, judged.round) if run.kind == "sample"]
        assert [run.inputs.get("scored_by") for run in runs if not evaluating.is_beside(run)] == [reward] * (len(runs) - 1)
    people_decide.look_after(engine, judged.project)
    with read_session(engine) as session:
        mine = select(EvaluationTask.predicted).join(EvaluationCandidate).where(EvaluationCandidate.promotable)
        assert {round(one or 0, 4) for one in session.scalars(mine)} == {0.7311}, "a score of 1.25 beside one of 0.25"
        evaluation = session.get_one(Evaluation, judged.evaluation)
        said = gather(session, evaluation)
        (candidate,) = [one.id for one in evaluations.candidates_of(session, evaluation) if one.promotable]
        assert len(said[candidate].evidence.unasked) == evaluation.planned, "as many prompts that nobody is asked about"


def test_a_large_budget_asks_no_run_for_more_answers_than_one_may_write(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "MOST_ANSWERS", 400)
    judged = begin(engine, prompts=60, evaluation_budget=20_000)
    with read_session(engine) as session:
        evaluation = session.get_one(Evaluation, judged.evaluation)
        assert (evaluation.pairs, len(evaluation.prompt_ids)) == (4, 25)
        runs = [run for run in service.runs_of_round(session, judged.round) if "prompt_ids" in run.inputs]
        drawn = [len(run.inputs["prompt_ids"]) * run.config["per_prompt"] * run.config["best_of"] for run in runs]
        assert max(drawn) == 400


def test_without_evaluation_or_held_out_prompts_an_admin_decides_as_before(engine: Engine) -> None:
    for wanted in (False, True):
        with write_session(engine) as session:
            project = factories.make_project(session, evaluation_on=wanted)
            person = factories.make_user(session, f"Somebody{project.id}")
            if not wanted:
                factories.make_prompt(session, project.id, split="holdout")
            make_labels(session, project, 30, person.id)
            round_ = service.start_round(session, project, "admin", None)
            end(session, stage(session, round_)[0], gate_passed=True)
            end(session, stage(session, round_)[0])
            for run in stage(session, round_):
                end(session, run)
            assert round_.state == "decision"
            assert evaluations.evaluation_of(session, round_) is None


def test_best_of_four_of_the_old_policy_is_seen_beside_and_never_promoted(engine: Engine) -> None:
    judged = begin(engine)

    def prefers(left: str, right: str) -> str:  # the best of four always wins, the candidate nearly never
        for writer in ("best", "old"):
            if left.startswith(writer) or right.startswith(writer):
                return "left" if left.startswith(writer) else "right"
        return "tie"

    round_ = work(engine, judged, prefers)
    assert round_.decision == "rejected"
    with read_session(engine) as session:
        mine = select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == judged.evaluation)
        found = session.scalars(mine.order_by(EvaluationCandidate.id)).all()
        assert [one.promotable for one in found] == [True, False]
        assert [one.standing and one.standing["mean"] for one in found] == [0.0, 1.0]


def test_what_people_say_of_the_best_of_four_counts_on_after_something_is_shown(engine: Engine) -> None:
    judged = begin(engine, prompts=80, train=5, evaluation_share=0.9, evaluation_budget=80)
    likes = {"best": iter([True] * 16 + [False] * 80), "new": cycle([True, False])}

    def prefers(left: str, right: str) -> str:
        for writer, liked in likes.items():
            if left.startswith(writer) or right.startswith(writer):
                return "left" if left.startswith(writer) == next(liked) else "right"
        return "tie"

    work(engine, judged, prefers)
    with read_session(engine) as session:
        mine = select(EvaluationCandidate).where(EvaluationCandidate.evaluation_id == judged.evaluation)
        beside = session.scalars(mine.where(~EvaluationCandidate.promotable)).one().standing
    assert beside is not None
    assert (beside["won"], beside["lost"]) == (16, beside["units"] - 16)
    assert beside["lost"] > 16
    assert beside["mean"] == 16 / beside["verdicts"]


def test_a_best_of_four_that_cannot_be_written_takes_no_round_with_it(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session, evaluation_on=True)
        person = factories.make_user(session, "Somebody")
        factories.make_prompt(session, project.id, split="holdout")
        make_labels(session, project, 30, person.id)
        round_ = service.start_round(session, project, "admin", None)
        end(session, stage(session, round_)[0], gate_passed=True)
        get_checkpoint(session, round_.reward_id or 0).parent_id = project.policy_id
        end(session, stage(session, round_)[0])
        runs = stage(session, round_)
        assert [evaluating.is_beside(run) for run in runs].count(True) == 1
        for run in runs:
            end(session, run, "failed" if evaluating.is_beside(run) else "done")
        assert round_.state == "decision", "there was nothing to compare: nobody wrote anything here"


def test_two_workers_that_look_at_once_decide_once_and_ask_nothing_twice(on_postgres: Engine) -> None:
    judged = begin(on_postgres, prompts=80)
    together = threading.Barrier(4)

    def look(_number: int) -> None:
        together.wait(timeout=10)
        people_decide.look_after(on_postgres, judged.project)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(look, range(4)))
    with read_session(on_postgres) as session:
        asked = session.execute(
            select(EvaluationTask.candidate_id, EvaluationTask.place, func.count())
            .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
            .where(EvaluationCandidate.evaluation_id == judged.evaluation)
            .group_by(EvaluationTask.candidate_id, EvaluationTask.place, EvaluationTask.pair)
        ).all()
        assert asked
        assert all(count == 1 for *_which, count in asked)
    work(on_postgres, judged, taste(0.9))
    with read_session(on_postgres) as session:
        decided = select(func.count()).where(AuditEntry.action == "evaluation.decided", AuditEntry.project_id == judged.project)
        assert session.scalar(decided) == 1


def test_a_withdrawn_verdict_counts_no_more_and_the_place_waits_for_another(engine: Engine) -> None:
    judged = begin(engine, prompts=60)
    with pytest.raises(AssertionError, match="never ended"):
        work(engine, judged, lambda left, right: "tie", most=70)
    people_decide.look_after(engine, judged.project)
    before = standing(engine, judged.evaluation)
    with write_session(engine) as session:
        first = (
            select(Label.task_id, Label.annotator_id)
            .join(EvaluationTask, EvaluationTask.task_id == Label.task_id)
            .join(EvaluationCandidate, EvaluationCandidate.id == EvaluationTask.candidate_id)
            .where(EvaluationCandidate.promotable, EvaluationTask.place == 0)
        )
        task_id, person = session.execute(first.limit(1)).one()
        withdraw(session.connection(), task_id, person, "9" * 36, interface="test", now=utc_now())
    people_decide.look_after(engine, judged.project)
    assert before["units"] > 1
    assert standing(engine, judged.evaluation)["units"] == 0, "the first prompt is open again, and those behind wait for it"


def standing(engine: Engine, evaluation_id: int) -> dict[str, Any]:
    """Of the one that may be promoted."""
    with read_session(engine) as session:
        mine = select(EvaluationCandidate.standing).where(EvaluationCandidate.evaluation_id == evaluation_id)
        found: dict[str, Any] | None = session.scalar(mine.where(EvaluationCandidate.promotable))
        assert found is not None
        return found


def test_nobody_is_promoted_over_a_policy_that_people_did_not_compare_them_with(engine: Engine) -> None:
    judged = begin(engine)
    with write_session(engine) as session:
        base = get_checkpoint(session, policy_of(engine, judged) or 0)
        other = factories.make_checkpoint(session, judged.project, parent_id=base.id)
        promoted = other.id
        service.promote(session, other, judged.people[0], confirmed=True)
    round_ = work(engine, judged, taste(0.9))
    assert evaluation_of(engine, judged).decision == "promoted"
    assert (round_.state, round_.decision) == ("decision", None), "an admin sees what people said of the policy before"
    assert policy_of(engine, judged) == promoted


def test_the_reason_tells_of_the_candidate_and_not_of_the_best_of_four_beside_it(engine: Engine) -> None:
    judged = begin(engine)

    def prefers(left: str, right: str) -> str:
        for writer in ("best", "old"):
            if left.startswith(writer) or right.startswith(writer):
                return "left" if left.startswith(writer) else "right"
        return "tie"

    round_ = work(engine, judged, prefers)
    assert round_.reason is not None
    assert round_.reason.code == "people_do_not_prefer_it"
    figures = round_.reason.arguments["figures"]
    assert isinstance(figures, Message)
    assert figures.arguments["accuracy"] == 0.0


def test_an_evaluation_ends_though_people_pass_tasks_over(engine: Engine) -> None:
    """Some early, so that they stand before all others, and one among the last, behind which nothing comes."""
    judged = begin(engine, prompts=40, train=0, people=2, evaluation_budget=40)
    passed = {0, 1, 2, 3, 4, 5, 38}

    def go_on() -> bool:
        people_decide.look_after(engine, judged.project)
        found = False
        for person in judged.people:
            with write_session(engine) as session:
                served = claim_next(session.connection(), judged.project, person, now=utc_now(), lease=timedelta(minutes=1))
                if served is None:
                    continue
                found = True
                asked = session.scalars(select(EvaluationTask).where(EvaluationTask.task_id == served.id)).one()
                if asked.place in passed:
                    skip(session.connection(), served.id, person, "unclear", now=utc_now())
                    continue
                verdict = Verdict(str(uuid.uuid4()), "tie")
                record_label(session.connection(), served.id, person, verdict, interface="test", now=utc_now())
        return found

    while go_on():
        pass
    people_decide.look_after(engine, judged.project)
    assert round_of(engine, judged).decision == "rejected"
    found = standing(engine, judged.evaluation)
    assert (found["units"], found["spent"]) == (40 - len(passed), True)


def test_an_evaluation_ends_though_a_verdict_was_taken_back_and_nobody_else_is_there(engine: Engine) -> None:
    judged = begin(engine, prompts=8, train=0, people=1, evaluation_budget=8)
    for _ in range(40):
        people_decide.look_after(engine, judged.project)
        served = judge_next(engine, judged.project, judged.people[0], lambda left, right: "tie")
        if served is None:
            break
        if not judged.asked:
            with write_session(engine) as session:
                withdraw(session.connection(), served, judged.people[0], "9" * 36, interface="test", now=utc_now())
        judged.asked.append(served)
    people_decide.look_after(engine, judged.project)
    assert round_of(engine, judged).decision == "rejected"


def test_what_was_put_away_is_asked_no_more_and_the_budget_ends_before_it(engine: Engine) -> None:
    judged = begin(engine, prompts=30, train=0, evaluation_budget=30)
    people_decide.look_after(engine, judged.project)
    last = evaluation_of(engine, judged).prompt_ids[25:]
    with write_session(engine) as session:
        put_away(session, judged.project, last, None)
    round_ = work(engine, judged, lambda left, right: "tie")
    assert round_.decision == "rejected"
    assert standing(engine, judged.evaluation)["units"] == 25
    with read_session(engine) as session:
        assert not session.scalars(select(Task).where(Task.prompt_id.in_(last))).all()


def test_a_candidate_that_was_asked_about_less_than_another_is_decided_too(engine: Engine) -> None:
    few = Evidence([Unit(0.5)] * 18, complete=True)
    many = Evidence([Unit(0.5)] * 20, complete=True)
    found = decide({1: few, 2: many}, planned=20)
    assert found.over
    assert all(verdict.spent for verdict in found.verdicts.values())


def test_the_evaluation_of_a_round_that_failed_keeps_no_other_from_beginning(engine: Engine) -> None:
    with write_session(engine) as session:
        project = factories.make_project(session, evaluation_on=True)
        person = factories.make_user(session, f"Somebody{project.id}")
        factories.make_prompt(session, project.id, split="holdout")
        make_labels(session, project, 30, person.id)
        round_ = service.start_round(session, project, "admin", None)
        end(session, stage(session, round_)[0], gate_passed=True)
        end(session, stage(session, round_)[0])
        assert evaluations.live_evaluations(session, project.id)
        for run in stage(session, round_):
            end(session, run, "failed")
        assert round_.state == "failed"
        assert not evaluations.live_evaluations(session, project.id)
