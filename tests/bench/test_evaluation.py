"""The checks of `bench/evaluation.py`, and that what it makes up is what it says, with few plays."""

from __future__ import annotations

import numpy as np
import pytest

from app.evaluation.planning import NEVER, Looks
from bench.evaluation import PEOPLE, Bench, Case, broken, case


def test_a_broken_promise_is_named() -> None:
    kept = Case("kept", 50, 1000, 10.0, limit=0.05)
    wrong = Case("wrong", 51, 1000, 10.0, limit=0.05)
    weak = Case("weak", 899, 1000, 10.0, floor=0.9)
    assert broken([kept, wrong, weak, Case("nothing promised", 999, 1000, 1.0)]) == [
        "wrong: 0.0510 promoted",
        "weak: 0.8990 promoted",
    ]


def test_what_is_not_decided_costs_the_whole_budget() -> None:
    looks = Looks(np.array([10, NEVER, NEVER]), np.array([NEVER, 20, NEVER]))
    one = case("x", looks, 100)
    assert (one.promoted, one.plays) == (1, 3)
    assert one.units == pytest.approx(130 / 3)


def test_with_few_plays_no_promise_is_broken_by_much() -> None:
    cases = list(Bench(400, seed=1).all())
    assert len({one.name for one in cases}) == len(cases)
    assert all(one.share < 0.1 for one in cases if one.limit is not None)
    assert all(one.share > 0.85 for one in cases if one.floor is not None)
    by_name = {one.name: one for one in cases}
    ours, papers = by_name["true 0.6, ties 0.0"], by_name["true 0.6, the paper's plug-in"]
    assert ours.share > papers.share
    assert by_name["true 0.5, an interval for one look, from the tenth prompt on"].share > 0.2
    assert by_name["true 0.6, predictions good, 3 unasked to a prompt"].more["saved"] > 5


@pytest.mark.parametrize("kind", ["good", "useless", "against", "turning", "constant"])
def test_made_up_predictions_deviate_by_nothing_on_average(kind: str) -> None:
    values, differences = Bench(300).foretold(0.6, kind, 3)
    assert values.mean() == pytest.approx(0.6, abs=0.01)
    assert differences.mean() == pytest.approx(0.0, abs=0.005)
    together = np.corrcoef(values[:60].ravel(), differences[:60].ravel())[0, 1] if kind != "constant" else 0.0
    assert together == pytest.approx({"good": 0.44, "turning": 0.44, "against": -0.44}.get(kind, 0.0), abs=0.03)


def test_habits_leave_the_mean_and_pull_each_person_their_way() -> None:
    bench = Bench(400)
    assert bench.by_people(0.5, PEOPLE["all alike"], 1, 0.5).mean() == pytest.approx(0.5, abs=0.01)
    assert bench.by_people(0.5, PEOPLE["all alike"], 1, 0.8).mean() == pytest.approx(0.65, abs=0.01)
    assert bench.by_people(0.5, PEOPLE["of two minds"], 20, 0.8).mean() == pytest.approx(0.5, abs=0.02)
    runs = bench.by_people(0.5, PEOPLE["of two minds"], 20, 0.8).reshape(20, 20, 400).mean(axis=1)
    mixed = bench.by_people(0.5, PEOPLE["of two minds"], 1, 0.8).reshape(20, 20, 400).mean(axis=1)
    assert runs.std() > mixed.std() + 0.02
