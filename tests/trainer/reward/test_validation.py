"""Figures of held-out predictions, against cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.reward.data import Comparison, Labels, Rating
from trainer.reward.gate import p_value
from trainer.reward.held_out import fold_metrics
from trainer.reward.rankings.ranking import Ranking
from trainer.reward.validation import (
    HeldOut,
    accuracy,
    agreement,
    agreement_figures,
    annotators,
    calibration,
    ceiling,
    comparison_figures,
    correlation,
    effective_count,
    headline_figures,
    interval,
    rating_figures,
)

F64 = torch.float64


def comparison(choice: str, left: int = 0, right: int = 1, annotator: str = "anna", prompt: str = "p") -> Comparison:
    return Comparison(left, right, choice, None, annotator, prompt)


def test_ties_have_no_right_side_and_a_draw_counts_half() -> None:
    rows = [comparison("left"), comparison("right"), comparison("tie"), comparison("both_bad"), comparison("left")]

    found = comparison_figures(held_out(rows, [1.0, 2.0, 5.0, -5.0, 0.0]), lengths=torch.tensor([10, 4]))

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

    found = agreement_figures(labels)
    assert (found["agreement"], found["agreement_pairs"], found["ceiling"]) == (pytest.approx(1 / 3), 3, 0.5)
    assert found["ceiling_low"] == 0.5 < found["ceiling_high"] <= 1


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
    said = torch.tensor(delta, dtype=F64)
    return HeldOut(rows, said, said, loglik, folds, [], nothing, nothing, [], nothing, nothing, nothing)


def test_a_rewrite_beside_its_answer_is_no_judgement_and_enters_no_accuracy() -> None:
    rewrite = comparison("left")._replace(source="rewrite")
    rows = [comparison("left"), rewrite, comparison("right"), rewrite, comparison("left"), comparison("tie"), rewrite]
    held = held_out(rows, [1.0, 9.0, -1.0, 9.0, -1.0, 0.0, 9.0])  # of three decided verdicts two are right; all rewrites are

    assert accuracy(held) == pytest.approx(2 / 3)
    figures = headline_figures(held)
    assert (figures["decided"], figures["of"], figures["accuracy"]) == (3, "comparisons", pytest.approx(2 / 3))
    people = annotators(held.verdicts.comparisons, held.verdicts.delta, log_nu=0.0)
    assert (people["anna"]["decided"], people["anna"]["accuracy"]) == (3, pytest.approx(2 / 3))
    fold = fold_metrics(held)
    assert fold["reward/fold_accuracy"] == pytest.approx(2 / 3)
    assert fold["reward/fold_nll"] == pytest.approx((1 + 3 + 5 + 6) / 4)
    assert math.isnan(fold_metrics(held_out([rewrite], [1.0]))["reward/fold_accuracy"])


def test_a_ranking_counts_once_by_the_share_of_its_pairs_that_are_right() -> None:
    order = Ranking((0, 1, 2, 3), ((0,), (1,)), (3,), False, "anna", "q")  # tells 6 pairs apart
    equal = order._replace(order=((0, 1, 2, 3),), last=())  # none
    held = held_out([comparison("left")], [1.0])
    shares = torch.tensor([4 / 6, torch.nan], dtype=F64)
    held = held._replace(rankings=[order, equal], ranking_hit=shares, ranking_own=shares, ranking_loglik=shares)

    found = headline_figures(held)

    assert (found["decided"], found["decided_prompts"]) == (2, 2)
    assert found["accuracy"] == pytest.approx((1 + 4 / 6) / 2)
    assert found["p_value"] == p_value(torch.ones(2), ["p", "q"])  # most of its pairs are right: a hit


def test_people_who_rewrote_an_answer_alike_agreed_on_no_verdict() -> None:
    rewrites = [comparison("left", 5, 0, name)._replace(source="rewrite") for name in ("anna", "ben")]

    same, _prompts = agreement(Labels(comparisons=[*rewrites, comparison("left"), comparison("right", annotator="ben")]))
    assert same.tolist() == [0.0]


def test_ratings_are_compared_within_one_prompt_and_person() -> None:
    rows = [
        *(Rating(0, 5, "anna", "p"), Rating(1, 2, "anna", "p"), Rating(2, 2, "anna", "p")),  # two pairs that differ
        *(Rating(3, 1, "anna", "q"), Rating(4, 4, "ben", "q"), Rating(5, 3, "ben", "q")),  # one by ben, two by nobody alone
    ]
    reward = torch.tensor([2.0, 1.0, 3.0, 9.0, 5.0, 4.0], dtype=F64)

    found = rating_figures(rows, reward, torch.zeros(6, dtype=F64))
    assert (found["rating_pairs"], found["rating_prompts"]) == (3, 2)
    assert found["rating_accuracy"] == pytest.approx(2 / 3)  # 5 over 2 once, 4 over 3; 5 over 2 the other time is not
    found = rating_figures(rows, reward, torch.zeros(6, dtype=F64), within_person=False)
    assert (found["rating_pairs"], found["rating_accuracy"]) == (5, pytest.approx(2 / 5))


def test_ratings_of_one_answer_a_prompt_are_no_pairs() -> None:
    found = rating_figures(
        [Rating(row, 1 + row % 5, "anna", f"p{row}") for row in range(40)], torch.randn(40), torch.zeros(40, dtype=F64)
    )
    assert (found["ratings"], found["rating_pairs"], found["rating_accuracy"], found["rating_p_value"]) == (40, 0, None, None)


def test_ratings_of_the_same_answer_are_no_pairs() -> None:
    """Its reward is neither higher nor lower than itself, whoever liked it more."""
    once = [Rating(row, stars, name, f"p{row}") for row in range(40) for name, stars in (("anna", 2), ("ben", 4))]
    found = rating_figures(once, torch.randn(40).repeat_interleave(2), torch.zeros(80, dtype=F64), within_person=False)
    assert (found["rating_pairs"], found["rating_prompts"], found["rating_accuracy"]) == (0, 0, None)

    both = [*once[:2], Rating(40, 5, "anna", "p0"), Rating(40, 1, "ben", "p0")]
    found = rating_figures(both, torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.zeros(4, dtype=F64), within_person=False)
    assert (found["rating_pairs"], found["rating_accuracy"]) == (4, 0.5)  # 5 over 2 and over 4; 1 under both
    again = [Rating(0, stars, name, "p") for name in ("anna", "ben") for stars in (2, 4)]
    assert agreement_figures(Labels(ratings=again))["agreement_pairs"] == 0


def test_an_interval_of_prompts_whose_judgements_are_all_alike_is_that_of_the_prompts() -> None:
    prompts = [f"p{row % 25}" for row in range(100)]
    hits = torch.tensor([1.0] * 20 + [0.0] * 5).repeat(4)
    assert effective_count(hits, prompts) == pytest.approx(24)  # 25 prompts, less the one that the variance takes
    assert effective_count(torch.ones(100), prompts) == 25
    assert effective_count(torch.tensor([0.5, 0.5]), ["p", "q"]) == 2
    apart = [f"p{row}" for row in range(100)]
    assert effective_count(hits, apart) == pytest.approx(99)
    assert interval(torch.ones(20), ["p0"] * 20)[0] == pytest.approx(0.2065, abs=1e-3)  # Wilson's of one of one


def test_a_perfect_model_agrees_more_often_than_people_do() -> None:
    assert ceiling(0.745) == pytest.approx(0.85)  # 15 % of verdicts the other way: .85^2 + .15^2 agree
    assert (ceiling(1.0), ceiling(0.5), ceiling(0.3)) == (1.0, 0.5, 0.5)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_the_ceiling_is_what_a_perfect_model_reaches_where_people_err_alike_and_above_it_where_not(
    ties: bool, spread: float
) -> None:
    """200,000 pairs of answers, two people each, by Davidson's model: all pairs as far apart, or some further than others."""
    draw = torch.Generator().manual_seed(0)
    delta = 1.2 + spread * torch.randn(200_000, generator=draw, dtype=F64)
    nu = 1.0 if ties else 0.0
    weights = torch.stack([(delta / 2).exp(), (-delta / 2).exp(), torch.full_like(delta, nu)], 1)
    said = torch.multinomial(weights, 2, replacement=True, generator=draw)  # 0 left, 1 right, 2 tie
    both = (said < 2).all(1)
    agreed = float((said[both, 0] == said[both, 1]).double().mean())
    decided = said[said < 2]
    right = (torch.where(delta > 0, 0, 1)[:, None].expand(-1, 2)[said < 2] == decided).double().mean()

    if spread:
        assert ceiling(agreed) > float(right) + 0.005
        assert float(right) > agreed
    else:
        assert ceiling(agreed) == pytest.approx(float(right), abs=0.004)


def test_ratings_tell_how_far_people_agree_where_nobody_compared() -> None:
    given = {"anna": (5, 1), "ben": (4, 2), "cleo": (1, 3), "dora": (3, 3)}
    ratings = [Rating(answer, stars[answer], name, "p") for name, stars in given.items() for answer in (0, 1)]
    found = agreement_figures(Labels(ratings=ratings))
    assert (found["agreement"], found["agreement_pairs"]) == (pytest.approx(1 / 3), 3)
    assert agreement_figures(Labels(ratings=ratings[:2]))["ceiling"] is None


def test_correlation_of_what_never_varies_is_not_a_number_but_nothing() -> None:
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])) == pytest.approx(1.0)
    assert correlation(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 4.0, 6.0])) is None
