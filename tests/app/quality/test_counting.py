"""Figures of people from narrow columns: each by hand, and a crowd of whom it is known how they judge."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from app.quality.columns import BOTH_BAD, LEFT, NAMES, RIGHT, TIE, UNKNOWN, Columns, _with, nothing
from app.quality.counting import Known, count
from app.quality.report import FIGURES, Person, Report, from_json, written

DEFAULTS = {"left": 1, "right": 2, "left_contender": 1, "right_contender": 2, "left_bytes": 100, "right_bytes": 100}


def columns(*rows: Mapping[str, Any]) -> Columns:
    """A label each; what is left out is a comparison of equally long answers, the left one chosen."""
    said: list[dict[str, str | int]] = [{}]
    filled = []
    for number, row in enumerate(rows, start=1):
        place = 0
        if "criteria" in row:
            said.append(row["criteria"])
            place = len(said) - 1
        rated = "overall" in row
        sides = (
            {"choice": UNKNOWN, "right": 0, "right_contender": 0, "right_bytes": 0} if rated else {"choice": LEFT, "overall": 0}
        )
        base: dict[str, Any] = (
            dict.fromkeys(NAMES, 0)
            | DEFAULTS
            | {
                "label": number,
                "spent_ms": UNKNOWN,
            }
            | sides
        )
        filled.append(base | dict(row) | {"criteria": place})
    return Columns(**{name: np.array([row[name] for row in filled], np.int64) for name in NAMES}, said=said)


def people(report: Report) -> dict[int, Person]:
    return {one.user_id: one for one in report.people}


def test_who_sees_an_answer_on_the_other_side_says_the_same_of_it() -> None:
    found = count(
        columns(
            {"task": 1, "person": 1, "choice": LEFT},
            {"task": 1, "person": 2, "choice": RIGHT, "left": 2, "right": 1},
            {"task": 2, "person": 1, "choice": TIE},
            {"task": 2, "person": 2, "choice": BOTH_BAD},
        ),
        {},
    )
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.alike.n, pair.alike.value) == (1, 2, 2, 0.5)
    assert people(found)[1].agrees.value == 0.5


def test_agreement_with_the_others_rests_on_tasks_and_not_on_pairs() -> None:
    """Three others who said the same of one task are one trial of who agrees with them."""
    found = count(
        columns(
            *({"task": 1, "person": person} for person in (1, 2, 3, 4)),
            {"task": 2, "person": 1, "overall": 2},
            {"task": 2, "person": 2, "overall": 3},
            {"task": 2, "person": 3, "overall": 5},
            {"task": 3, "person": 1},
        ),
        {},
    )
    assert [(one.agrees.n, one.agrees.value) for one in people(found).values()] == [(2, 0.75), (2, 0.75), (2, 0.5), (1, 1.0)]


def test_a_superseded_version_a_withdrawal_and_a_late_verdict_count_for_nothing() -> None:
    found = count(
        columns(
            {"label": 1, "task": 1, "person": 1, "choice": LEFT},
            {"label": 2, "task": 1, "person": 1, "choice": RIGHT, "supersedes": 1},
            {"label": 3, "task": 2, "person": 1},
            {"label": 4, "task": 2, "person": 1, "supersedes": 3, "withdrawn": 1},
            {"label": 5, "task": 3, "person": 1, "surplus": 1},
        ),
        {},
    )
    assert found.labels == 1
    assert people(found)[1].left.value == 0.0


def test_habits_by_hand() -> None:
    found = people(
        count(
            columns(
                {"task": 1, "person": 7, "choice": LEFT, "left_bytes": 200, "spent_ms": 1_000},
                {"task": 2, "person": 7, "choice": RIGHT, "left_bytes": 200, "spent_ms": 12_000},
                {"task": 3, "person": 7, "choice": TIE, "spent_ms": 8_000},
                {"task": 4, "person": 7, "choice": LEFT},
            ),
            {},
        )
    )[7]
    assert (found.labels, found.left.n) == (4, 3)
    assert found.left.value == pytest.approx(2 / 3)
    assert (found.longer.n, found.longer.value) == (2, 0.5)
    assert (found.ties.n, found.ties.value) == (4, 0.25)
    assert (found.seconds.n, found.seconds.value) == (3, 8.0)
    assert found.reading.value == pytest.approx(1.0)  # 12 s to read 300 bytes, 1 of 12, 8 of 8
    assert found.hasty.n == 3
    assert found.hasty.value == pytest.approx(1 / 3)


def test_leniency_is_over_what_others_gave_the_same_answer() -> None:
    rows = [{"task": task, "person": person, "overall": mark} for task in (1, 2, 3) for person, mark in ((1, 5), (2, 3), (3, 3))]
    found = people(count(columns(*rows, {"task": 9, "person": 2, "overall": 1}), {}))
    assert (found[1].leniency.n, found[1].leniency.value) == (3, 2.0)
    assert (found[2].leniency.n, found[2].leniency.value) == (3, -1.0)


def test_checks_say_something_of_their_person_and_nothing_of_agreement() -> None:
    known = {10: Known(False, 1, 0), 11: Known(True, 2, 0), 12: Known(True, -TIE, 0), 13: Known(False, UNKNOWN, 4)}
    found = count(
        columns(
            {"task": 1, "person": 1},
            {"task": 1, "person": 2},
            {"task": 10, "person": 1, "choice": RIGHT, "left": 2, "right": 1, "checks": 1},  # the same again, sides swapped
            {"task": 11, "person": 1, "choice": LEFT, "checks": 1},  # the other one is right
            {"task": 12, "person": 1, "choice": TIE, "checks": 1},
            {"task": 13, "person": 2, "overall": 3, "checks": 1},  # within a step
        ),
        known,
    )
    one, other = found.people
    assert (one.steady.n, one.steady.value, one.gold.n, one.gold.value) == (1, 1.0, 2, 0.5)
    assert (other.steady.n, other.steady.value, other.gold.n) == (1, 1.0, 0)
    assert [pair.alike.n for pair in found.pairs] == [1]
    assert [question.kind for question in found.questions] == ["comparison"]


def test_each_criterion_is_a_question_of_its_own() -> None:
    found = count(
        columns(
            {"task": 1, "person": 1, "criteria": {"fluency": "left"}},
            {"task": 1, "person": 2, "criteria": {"fluency": "right"}},
            {"task": 2, "person": 1, "criteria": {"fluency": "tie"}},
            {"task": 2, "person": 2, "criteria": {"fluency": "tie"}},
            {"task": 3, "person": 1, "overall": 4, "criteria": {"accuracy": 2}},
            {"task": 3, "person": 2, "overall": 4, "criteria": {"accuracy": 5}},
        ),
        {},
    )
    assert [(one.key, one.kind, one.nominal.n) for one in found.questions] == [
        ("", "comparison", 4),
        ("", "rating", 2),
        ("accuracy", "rating", 2),
        ("fluency", "comparison", 4),
    ]


def test_a_crowd_is_seen_as_it_is() -> None:
    """Careful people, one who guesses and one who mostly chooses the left answer, three to a task."""
    draw = np.random.default_rng(4)
    rows = []
    for task in range(600):
        truth = draw.integers(0, 2)  # the answer with the lower id is better
        for person in draw.permutation(6)[:3]:
            swapped = draw.random() < 0.5
            better = LEFT if bool(truth) != bool(swapped) else RIGHT
            other = RIGHT if better == LEFT else LEFT
            chosen = {4: draw.choice([LEFT, RIGHT]), 5: LEFT if draw.random() < 0.8 else RIGHT}.get(
                int(person), better if draw.random() < 0.9 else other
            )
            sides = {"left": 2 * task + 2, "right": 2 * task + 1} if swapped else {"left": 2 * task + 1, "right": 2 * task + 2}
            rows.append({"task": task, "person": int(person) + 1, "choice": int(chosen), **sides})
    found = people(count(columns(*rows), {}))
    for careful in (1, 2, 3, 4):
        accuracy = found[careful].accuracy
        assert accuracy.low is not None
        assert accuracy.low > 0.75
    assert found[5].accuracy.value == pytest.approx(0.5, abs=0.1)
    assert found[6].left.low is not None
    assert found[6].left.low > 0.7


def test_nothing_was_judged() -> None:
    assert count(nothing(), {}) == Report()


def test_a_report_is_the_same_after_it_was_kept() -> None:
    found = count(columns({"task": 1, "person": 1}, {"task": 1, "person": 2, "choice": RIGHT}), {})
    assert from_json(json.loads(json.dumps(written(found)))) == found
    assert set(FIGURES) < set(Person.__dataclass_fields__)


def test_of_who_chose_too_seldom_where_others_did_nothing_is_said_of_what_they_decide_by() -> None:
    found = count(columns(*({"task": task, "person": person} for task in range(29) for person in (1, 2))), {})
    assert [one.decides for one in found.people] == [{}, {}]


def test_people_who_say_the_same_decide_as_most_do_and_the_report_is_kept_with_it() -> None:
    rows = [{"task": task, "person": person, "choice": RIGHT * (task % 2)} for task in range(60) for person in (1, 2, 3)]
    found = count(columns(*rows), {})
    assert [one.kind for one in found.people] == ["shared"] * 3
    assert from_json(json.loads(json.dumps(written(found)))) == found


def test_who_always_chooses_one_side_goes_by_the_side_and_not_by_chance() -> None:
    drawn = np.random.default_rng(0).integers(0, 2, 200)
    rows = []
    for task, first_left in enumerate(drawn.tolist()):
        sides = {"left": 1, "right": 2} if first_left else {"left": 2, "right": 1}
        rows += [{"task": task, "person": person, "choice": LEFT if first_left else RIGHT, **sides} for person in (1, 2, 3)]
        rows.append({"task": task, "person": 4, "choice": LEFT, **sides})
    assert people(count(columns(*rows), {}))[4].kind == "side"


def rows_saying(texts: list[str], first: int) -> list[Any]:
    """As the database gives them: columns of numbers, criteria last."""
    return [(first + row, *(0,) * (len(NAMES) - 2), text) for row, text in enumerate(texts)]


def test_ever_other_answers_to_criteria_are_numbered_in_one_look() -> None:
    """Twelve criteria from 1 to 5: hardly any label says the same, and each was held against all before it."""
    texts = [f'{{"a": {number}, "b": {number % 7}}}' for number in range(20_000)]
    again = [f'{{"b": {number % 7}, "a": {number}}}' for number in range(0, 20_000, 2)]  # in another order
    began = time.process_time()

    first = _with(nothing(), rows_saying(texts, 0))
    both = _with(first, rows_saying(again, 20_000))

    assert time.process_time() - began < 3
    assert len(both.said) == 20_000
    assert (both.criteria[20_000:] == both.criteria[:20_000:2]).all()
    assert [both.said[place] for place in both.criteria[:3]] == [{"a": number, "b": number} for number in range(3)]
