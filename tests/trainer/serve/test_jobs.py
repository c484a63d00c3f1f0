"""The desk: bounded, scores first, answers of one model together, nobody served who has gone."""

from __future__ import annotations

import threading

import pytest

from tests.trainer.serve.asking import job, scoring, writing
from trainer.serve.jobs import MOST_TOGETHER, Desk, Full


def test_one_more_than_may_wait_is_refused_and_leaves_the_others() -> None:
    desk = Desk(most=2)
    first, second = job(writing("a"))[0], job(writing("b"))[0]
    desk.put(first)
    desk.put(second)
    with pytest.raises(Full):
        desk.put(job(writing("c"))[0])
    assert [desk.take(0), desk.take(0), desk.take(0)] == [first, second, None]


def test_who_has_gone_takes_no_place_of_those_who_wait() -> None:
    desk = Desk(most=2)
    first, second, third, fourth = (job(writing(policy))[0] for policy in "abcd")
    desk.put(first)
    desk.put(second)
    first.gone.set()
    desk.put(third)
    with pytest.raises(Full):
        desk.put(fourth)
    assert [desk.take(0), desk.take(0), desk.take(0)] == [second, third, None]


def test_texts_are_scored_before_answers_are_written() -> None:
    desk = Desk()
    answer, score = job(writing("a"))[0], job(scoring("a", "r", "x"))[0]
    desk.put(answer)
    assert desk.take_scoring() is None
    desk.put(score)
    assert desk.take(0) is score
    desk.put(score)
    assert desk.take_scoring() is score
    assert desk.take(0) is answer


def test_those_of_the_same_models_are_taken_together_and_the_others_stay_in_their_order() -> None:
    desk = Desk()
    jobs = [job(writing(policy))[0] for policy in ("a", "b", "a", "b")]
    for one in jobs:
        desk.put(one)
    assert desk.take_alike(writing("a").models) == [jobs[0], jobs[2]]
    assert [desk.take(0), desk.take(0)] == [jobs[1], jobs[3]]


def test_no_more_are_taken_together_than_are_written_together() -> None:
    desk = Desk()
    for _ in range(MOST_TOGETHER + 4):
        desk.put(job(writing("a"))[0])
    assert len(desk.take_alike(writing("a").models)) == MOST_TOGETHER - 1  # and the one they join


def test_nothing_is_done_for_who_has_gone() -> None:
    desk = Desk()
    gone, there = job(writing("a"))[0], job(writing("a"))[0]
    scored = job(scoring("a", "r", "x"))[0]
    for one in (gone, there, scored):
        desk.put(one)
    gone.gone.set()
    scored.gone.set()
    assert desk.take_scoring() is None
    assert desk.take_alike(writing("a").models) == [there]
    assert desk.take(0) is None


def test_whoever_waits_for_a_job_is_woken() -> None:
    desk = Desk()
    one = job(writing("a"))[0]
    threading.Timer(0.1, desk.put, [one]).start()
    assert desk.take(10) is one


def test_a_closed_desk_hands_back_who_waits_and_takes_nobody() -> None:
    desk = Desk()
    one = job(writing("a"))[0]
    desk.put(one)
    assert desk.close() == [one]
    with pytest.raises(Full):
        desk.put(one)
