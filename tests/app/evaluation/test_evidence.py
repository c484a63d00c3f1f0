"""From verdicts to what the decision takes: prompts in their order, each once it is answered in full."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from app.database.engine import write_session
from app.evaluation import asking
from app.evaluation.evidence import PASSED_OVER, Asked, gather, said_of
from app.evaluation.service import candidates_of
from app.models import Evaluation, Generation, Project
from app.queue.given import ask_about
from app.rounds import people_decide
from tests.app.evaluation.judged import begin

NONE: frozenset[str] = frozenset()
UNTRUE = frozenset({"untrue"})


def asked(place: int, *wins: float, predicted: float | None = None) -> Asked:
    return Asked(place, predicted, list(wins), [(NONE, NONE) for _ in wins], list(range(len(wins))))


def test_a_prompts_value_is_the_mean_of_its_verdicts_over_all_its_pairs() -> None:
    said = said_of([asked(0, 1.0, 0.0), asked(0, 0.5, 1.0), asked(1, 0.0, 0.0)], 2, {})
    assert [unit.value for unit in said.evidence.units] == [0.625, 0.0]
    assert said.counted(2) == {"verdicts": 6, "people": 2, "won": 2, "lost": 3, "neither": 1}
    assert said.counted(1) == {"verdicts": 4, "people": 2, "won": 2, "lost": 1, "neither": 1}


def test_a_prompt_counts_once_all_asked_about_it_has_come_in_and_those_behind_wait_for_it() -> None:
    rows = [asked(0, 1.0), asked(1), asked(2, 1.0), asked(3, 0.0)]
    assert len(said_of(rows, 1, {}).evidence.units) == 1
    rows[1].wins.append(0.5)
    rows[1].flags.append((NONE, NONE))
    assert [unit.value for unit in said_of(rows, 1, {}).evidence.units] == [1.0, 0.5, 1.0, 0.0]
    assert len(said_of([asked(0, 1.0), asked(0), asked(1, 1.0)], 1, {}).evidence.units) == 0, "a pair of it is open"


def test_the_order_is_that_of_the_tasks_and_not_that_of_the_verdicts() -> None:
    rows = [asked(2, 0.0), asked(0, 1.0), asked(1, 0.5)]
    assert [unit.value for unit in said_of(rows, 1, {}).evidence.units] == [1.0, 0.5, 0.0]


def test_nobody_waits_for_ever_for_a_prompt_that_people_leave_alone() -> None:
    rows = [asked(0, 1.0), asked(1), *(asked(place, 0.0) for place in range(2, 2 + PASSED_OVER))]
    said = said_of(rows, 1, {})
    assert len(said.evidence.units) == 1 + PASSED_OVER
    assert len(said_of(rows[:-1], 1, {}).evidence.units) == 1


def test_once_all_is_asked_nobody_waits_for_what_somebody_passed_over() -> None:
    rows = [asked(0, 1.0), asked(1), asked(2, 0.0)]
    waits = said_of(rows, 1, {}, ended=True).evidence
    assert (len(waits.units), waits.complete) == (1, False)
    rows[1].passed_over = True
    assert not said_of(rows, 1, {}).evidence.complete, "others may still answer it"
    over = said_of(rows, 1, {}, ended=True).evidence
    assert ([unit.value for unit in over.units], over.complete) == ([1.0, 0.0], True)


def test_flags_are_the_candidates_share_less_the_baselines() -> None:
    one = Asked(0, None, [1.0, 0.0], [(UNTRUE, NONE), (UNTRUE, UNTRUE)], [1, 2])
    two = Asked(1, None, [1.0, 1.0], [(NONE, UNTRUE), (NONE, NONE)], [1, 2])
    said = said_of([one, two], 2, {"untrue": 0, "rude": 0})
    assert said.evidence.flags == {"untrue": [0.5, -0.5], "rude": [0.0, 0.0]}


def test_what_is_usual_stays_what_it_was_though_its_answers_are_asked_about_elsewhere(engine: Engine) -> None:
    judged = begin(engine, prompts=40, train=5, evaluation_budget=20)
    people_decide.look_after(engine, judged.project)
    with write_session(engine) as session:
        evaluation = session.get_one(Evaluation, judged.evaluation)
        (one,) = [one for one in candidates_of(session, evaluation) if one.promotable]
        key = one.id
        before = list(gather(session, evaluation)[key].evidence.unasked)
        assert len(before) == 20
        first = evaluation.prompt_ids[evaluation.planned]
        theirs = select(Generation.id).where(Generation.prompt_id == first, Generation.contender_id == one.contender_id)
        answers = session.scalars(theirs.order_by(Generation.id)).all()
        ask_about(session, session.get_one(Project, judged.project), [(answer,) for answer in answers], None)
    with write_session(engine) as session:
        assert list(gather(session, session.get_one(Evaluation, judged.evaluation))[key].evidence.unasked) == before
        evaluation = session.get_one(Evaluation, judged.evaluation)
        evaluation.budget = 5  # the rest of what is planned cannot be asked about any more
        assert gather(session, evaluation)[key].evidence.unasked == before[:5]


def test_what_is_usual_is_kept_of_an_evaluation_from_before_though_nothing_more_is_due(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = begin(engine, prompts=40, train=5, evaluation_budget=20)
    people_decide.look_after(engine, judged.project)
    monkeypatch.setattr(asking, "AHEAD", 0)
    with write_session(engine) as session:
        evaluation = session.get_one(Evaluation, judged.evaluation)
        candidates, project = candidates_of(session, evaluation), session.get_one(Project, judged.project)
        before = [one.foretold for one in candidates]
        for one in candidates:
            one.foretold = None
        session.flush()
        assert not asking.is_due(session, evaluation)
        assert asking.go_on(session, project, evaluation) == 0
        assert [one.foretold for one in candidates] == before


def test_a_prediction_is_known_of_a_prompt_where_it_is_of_all_its_pairs() -> None:
    rows = [asked(0, 1.0, predicted=0.6), asked(0, 1.0, predicted=0.8), asked(1, 1.0, predicted=0.7), asked(1, 0.0)]
    units = said_of(rows, 1, {}, [0.5, 0.4]).evidence.units
    assert [unit.predicted and round(unit.predicted, 6) for unit in units] == [0.7, None]
