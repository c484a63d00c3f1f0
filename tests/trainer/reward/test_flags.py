"""What people flag, as a part of the score."""

from __future__ import annotations

import pytest
import torch

from trainer.reward.data import FlagJudgement, Labels
from trainer.reward.flags import CLEAN, CONTROLS, FLAGGED, fit_flags, flag_cost, flag_ratings, typical_cost
from trainer.reward.score_weights import ScoreWeights

COSTS = {"unsafe": 1.0, "untrue": 0.5, "broken": 0.0}


def look(answer: int, *flags: str) -> FlagJudgement:
    return FlagJudgement(answer, frozenset(flags), "anna", f"p{answer}")


def test_a_flag_weighs_what_it_costs_and_one_that_costs_nothing_says_nothing() -> None:
    found = flag_ratings([look(0, "unsafe"), look(1, "untrue", "unsafe"), look(2), look(3, "broken")], COSTS)

    assert [(row.answer, row.overall, row.weight) for row in found] == [(0, FLAGGED, 1.0), (1, FLAGGED, 1.5), (2, CLEAN, 1.0)]


def test_many_clean_answers_are_stood_for_by_some_of_them() -> None:
    found = flag_ratings([look(row) for row in range(3 * CONTROLS)] + [look(0, "unsafe")], COSTS)

    assert len(found) == CONTROLS + 1
    assert sum(row.weight for row in found) == pytest.approx(3 * CONTROLS + 1)


def test_flagged_answers_are_told_from_others_by_their_features() -> None:
    draw = torch.Generator().manual_seed(0)
    features = {"told": torch.randn(400, 6, generator=draw)}
    bad = features["told"][:, 0] > 1.2
    labels = Labels(flag_judgements=[look(row, *(["unsafe"] if bad[row] else [])) for row in range(300)])

    head = fit_flags(features, labels, COSTS)

    assert head is not None
    cost = flag_cost(head, features, typical_cost(labels, COSTS))[300:]
    assert float(cost[bad[300:]].mean()) > 0.4 > 0.1 > float(cost[~bad[300:]].mean())


@pytest.mark.parametrize("cost", [0.25, 1.0, 6.0])
def test_a_flag_takes_off_what_it_costs_times_its_chance(cost: float) -> None:
    draw = torch.Generator().manual_seed(0)
    features = {"told": torch.randn(2000, 1, generator=draw)}
    chance = torch.sigmoid(1.5 * features["told"][:, 0] - 0.5)
    flagged = torch.rand(2000, generator=draw) < chance
    labels = Labels(flag_judgements=[look(row, *(["unsafe"] if flagged[row] else [])) for row in range(2000)])

    head = fit_flags(features, labels, {"unsafe": cost})

    assert head is not None
    found = flag_cost(head, features, typical_cost(labels, {"unsafe": cost}))
    torch.testing.assert_close(found.float(), cost * chance, atol=0.08 * cost, rtol=0)


def test_the_typical_cost_is_that_of_answers_that_cost_something() -> None:
    assert typical_cost(Labels(flag_judgements=[look(0, "unsafe"), look(1, "untrue"), look(2, "broken"), look(3)]), COSTS) == 0.75


def test_too_few_flags_teach_nothing() -> None:
    labels = Labels(flag_judgements=[look(row, *(["unsafe"] if row < 4 else [])) for row in range(50)])

    assert fit_flags({"told": torch.randn(50, 2)}, labels, COSTS) is None


def test_a_mix_adds_weighted_scores_takes_flags_off_and_stands_on_its_own_scale() -> None:
    mix = ScoreWeights({"overall": 1.0, "clear": 0.5}, flags=2.0, mean=1.0, deviation=2.0)

    score = mix.score({"overall": torch.tensor([3.0]), "clear": torch.tensor([2.0]), "flags": torch.tensor([0.5])})

    assert float(score) == pytest.approx((3 + 0.5 * 2 - 2 * 0.5 - 1) / 2)
