"""What a person may say about a comparison and about a rating."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.errors import Invalid
from app.labels.verdict import Rewrite, Verdict, check

CRITERIA = ["fluency", "accuracy"]
FLAGS = ["unsafe", "untrue", "broken", "off_topic"]


def faults(kind: str, **said: Any) -> set[str]:
    try:
        check(Verdict("c", **said), kind, CRITERIA, FLAGS)
    except Invalid as refusal:
        return set(refusal.fields)
    return set()


@pytest.mark.parametrize(
    "said",
    [
        {"choice": "left", "strength": 3, "criteria": {"fluency": "right", "accuracy": "tie"}},
        {"choice": "tie"},
        {"choice": "both_bad", "flags": {"left": ["unsafe"], "right": ["untrue", "broken"]}},
        {"choice": "right", "rewrite": Rewrite("left", "Better.")},
    ],
)
def test_a_comparison_that_fits(said: dict[str, Any]) -> None:
    assert faults("comparison", **said) == set()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({}, "choice"),
        ({"choice": "response"}, "choice"),
        ({"choice": "tie", "strength": 2}, "strength"),
        ({"choice": "left", "strength": 4}, "strength"),
        ({"choice": "left", "overall": 3}, "overall"),
        ({"choice": "left", "criteria": {"taste": "left"}}, "criteria"),
        ({"choice": "left", "criteria": {"fluency": "both_bad"}}, "criteria"),
        ({"choice": "left", "criteria": {"fluency": 4}}, "criteria"),
        ({"choice": "left", "flags": {"response": ["untrue"]}}, "flags"),
        ({"choice": "left", "flags": {"left": ["boring"]}}, "flags"),
        ({"choice": "left", "rewrite": Rewrite("response", "x")}, "rewrite"),
    ],
)
def test_what_does_not_fit_a_comparison_is_refused(said: dict[str, Any], fault: str) -> None:
    assert faults("comparison", **said) == {fault}


def test_a_rating_that_fits() -> None:
    assert faults("rating", overall=1, criteria={"fluency": 5}, flags={"response": ["off_topic"]}) == set()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({}, "overall"),
        ({"overall": 6}, "overall"),
        ({"overall": 3, "choice": "left"}, "choice"),
        ({"overall": 3, "strength": 1}, "strength"),
        ({"overall": 3, "criteria": {"fluency": "left"}}, "criteria"),
        ({"overall": 3, "criteria": {"fluency": 0}}, "criteria"),
        ({"overall": 3, "flags": {"left": ["untrue"]}}, "flags"),
        ({"overall": 3, "rewrite": Rewrite("left", "x")}, "rewrite"),
    ],
)
def test_what_does_not_fit_a_rating_is_refused(said: dict[str, Any], fault: str) -> None:
    assert faults("rating", **said) == {fault}


def test_the_digest_tells_verdicts_tasks_and_people_apart() -> None:
    verdict = Verdict("c", choice="left", criteria={"a": "left", "b": "tie"})
    same = Verdict("c", choice="left", criteria={"b": "tie", "a": "left"})

    assert verdict.digest(1, 2) == same.digest(1, 2)
    assert len({verdict.digest(1, 2), verdict.digest(2, 1), replace(verdict, comment="x").digest(1, 2)}) == 3


def test_a_verdict_without_the_newer_field_keeps_the_digest_it_always_had() -> None:
    """Computed before `wall_ms` came: a browser may still hold such a verdict and send it again."""
    known = "42918ca0e701e50facbea0a683a25a6e28a6858647d9ab9a216f18f9fa5880d2"
    assert Verdict("c", choice="left", active_ms=7).digest(3, 4) == known
    assert Verdict("c", choice="left", active_ms=7, wall_ms=9).digest(3, 4) != known
