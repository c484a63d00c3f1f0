"""Figures of held-out predictions, against cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.contract.english import english
from trainer.contract.messages import Message
from trainer.reward.data import Comparison, Labels, Rating
from trainer.reward.held_out import fold_metrics
from trainer.reward.validation import (
    HeldOut,
    accuracy,
    agreement,
    annotators,
    calibration,
    comparison_figures,
    correlation,
    gate,
    headline_figures,
    interval,
    rating_figures,
)

F64 = torch.float64


def comparison(choice: str, left: int = 0, right: int = 1, annotator: str = "anna", prompt: str = "p") -> Comparison:
    return Comparison(left, right, choice, None, annotator, prompt)


def test_ties_have_no_right_side_and_a_draw_counts_half() -> None:
    rows = [comparison("left"), comparison("right"), comparison("tie"), comparison("both_bad"), comparison("left")]

    found = comparison_figures(
        rows,
        delta=torch.tensor([1.0, 2.0, 5.0, -5.0, 0.0], dtype=F64),
        loglik=torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0], dtype=F64),
        fold=torch.zeros(5, dtype=torch.long),
        lengths=torch.tensor([10, 4]),
    )

    assert (found["comparisons"], found["decided"], found["ties"], found["both_bad"]) == (5, 3, 1, 1)
    assert found["accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["nll"] == pytest.approx(3.0)
    assert found["longer_wins"] == pytest.approx(2 / 3)
    assert (found["shorter_accuracy"], found["shorter_decided"]) == (0.0, 1)


def test_an_interval_is_wider_when_judgements_of_a_prompt_go_together() -> None:
    hits = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0] * 2 + [0.0] * 2).repeat_interleave(8)
    together = [f"p{row // 8}" for row in range(len(hits))]
    apart = [f"p{row}" for row in range(len(hits))]

    low, high = interval(hits, together)
    narrow_low, narrow_high = interval(hits, apart)

    bounds = [low, narrow_low, float(hits.mean()), narrow_high, high]
    assert bounds == sorted({bound for bound in bounds if bound is not None})


def test_a_few_unanimous_judgements_are_not_certain() -> None:
    low, high = interval(torch.ones(20), [f"p{row}" for row in range(20)])

    assert low == pytest.approx(0.839, abs=1e-3)  # Wilson's lower bound for 20 of 20
    assert high == pytest.approx(1.0)


def test_temperature_repairs_confidence_that_is_three_times_too_high() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = 2 * torch.randn(4000, generator=draw, dtype=F64)
    sign = torch.where(torch.rand(4000, generator=draw, dtype=F64) < torch.sigmoid(truth), 1.0, -1.0).double()

    temperature, ece, bins = calibration(3 * truth, sign, torch.arange(4000) % 5)

    assert sum(bin_["count"] for bin_ in bins) == 4000
    confidence = [bin_["confidence"] for bin_ in bins]
    assert confidence == sorted(confidence)
    assert [bin_["accuracy"] for bin_ in bins] == pytest.approx(confidence, abs=0.06)

    assert temperature == pytest.approx(3.0, rel=0.1)
    assert ece == pytest.approx(0, abs=0.02)


def test_agreement_counts_pairs_of_people_who_judged_the_same_two_answers() -> None:
    labels = Labels(
        comparisons=[
            comparison("left", 0, 1, "anna"),
            comparison("right", 1, 0, "ben"),  # the same answer, on the other side
            comparison("right", 0, 1, "cleo"),
            comparison("tie", 0, 1, "dora"),
            comparison("left", 2, 3, "anna"),
        ]
    )

    share, count = agreement(labels)
    assert share == pytest.approx(1 / 3)
    assert count == 3


def test_the_annotator_who_exchanges_sides_stands_out() -> None:
    delta = torch.tensor([2.0, -2.0] * 20, dtype=F64)
    rows = [comparison("left" if row % 2 == 0 else "right", annotator="anna") for row in range(40)]
    rows += [comparison("right" if row % 2 == 0 else "left", annotator="ben") for row in range(40)]

    found = annotators(rows, torch.cat([delta, delta]), log_nu=-5.0)

    assert found["anna"]["accuracy"] == 1.0
    assert found["ben"] == {"decided": 40, "accuracy": 0.0, "reliability": pytest.approx(found["ben"]["reliability"])}
    assert found["ben"]["reliability"] < 0.2 < 0.8 < found["anna"]["reliability"]


def held_out(rows: list[Comparison], delta: list[float]) -> HeldOut:
    nothing = torch.zeros(0, dtype=F64)
    folds = torch.zeros(len(rows), dtype=torch.long)
    loglik = torch.arange(-1, -len(rows) - 1, -1, dtype=F64)
    return HeldOut(rows, torch.tensor(delta, dtype=F64), loglik, folds, [], nothing, nothing, folds[:0])


def test_a_rewrite_beside_its_answer_is_no_judgement_and_enters_no_accuracy() -> None:
    rewrite = comparison("left")._replace(source="rewrite")
    rows = [comparison("left"), rewrite, comparison("right"), rewrite, comparison("left"), comparison("tie"), rewrite]
    held = held_out(rows, [1.0, 9.0, -1.0, 9.0, -1.0, 0.0, 9.0])  # of three decided verdicts two are right; all rewrites are

    assert accuracy(held) == pytest.approx(2 / 3)
    figures = headline_figures(held)
    assert (figures["judged"], figures["accuracy"]) == (3, pytest.approx(2 / 3))
    people = annotators(held.verdicts.comparisons, held.verdicts.delta, log_nu=0.0)
    assert (people["anna"]["decided"], people["anna"]["accuracy"]) == (3, pytest.approx(2 / 3))
    fold = fold_metrics(held)
    assert fold["reward/fold_accuracy"] == pytest.approx(2 / 3)
    assert fold["reward/fold_nll"] == pytest.approx((1 + 3 + 5 + 6) / 4)
    assert math.isnan(fold_metrics(held_out([rewrite], [1.0]))["reward/fold_accuracy"])


def test_people_who_rewrote_an_answer_alike_agreed_on_no_verdict() -> None:
    rewrites = [comparison("left", 5, 0, name)._replace(source="rewrite") for name in ("anna", "ben")]

    assert agreement(Labels(comparisons=[*rewrites, comparison("left"), comparison("right", annotator="ben")])) == (0.0, 1)


def test_ratings_are_compared_within_one_person_and_fold() -> None:
    rows = [Rating(0, 5, "anna", "p0"), Rating(1, 2, "anna", "p1"), Rating(2, 1, "ben", "p2"), Rating(3, 4, "anna", "p3")]

    found = rating_figures(
        rows, torch.tensor([2.0, 1.0, 9.0, 3.0], dtype=F64), torch.zeros(4, dtype=F64), torch.tensor([0, 0, 0, 0])
    )

    # anna: 5 against 2 (right), 2 against 4 (right); nobody else has two
    assert (found["rating_pairs"], found["rating_accuracy"]) == (2, 1.0)


FIGURES = {"decided": 100, "accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "rating_pairs": 0}


def test_the_gate_opens_only_when_the_interval_beats_chance() -> None:
    passed, reason = gate(FIGURES)
    assert passed
    assert "70% of 100 held-out comparisons (95% interval 60% to 80%)" in english(reason)

    passed, reason = gate(FIGURES | {"accuracy": 0.55, "accuracy_low": 0.46})
    assert not passed
    assert reason.code == "reward_unusable"


def test_the_gate_reads_ratings_where_there_are_no_comparisons_and_refuses_to_guess() -> None:
    rated = FIGURES | {
        "decided": 3,
        "rating_pairs": 60,
        "rating_accuracy": 0.8,
        "rating_accuracy_low": 0.7,
        "rating_accuracy_high": 0.9,
    }
    assert gate(rated)[0]
    assert gate(rated)[1].arguments["judged"] == Message("heldout_rating_pairs", count=60)

    passed, reason = gate(FIGURES | {"decided": 3})
    assert not passed
    assert reason == Message("too_few_judgements", comparisons=3, ratings=0, needed=20)


def test_correlation_of_what_never_varies_is_not_a_number_but_nothing() -> None:
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])) == pytest.approx(1.0)
    assert correlation(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 4.0, 6.0])) is None
