"""The Bayesian head, on rewards that were planted."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from trainer.reward import likelihoods
from trainer.reward.data import Comparison, Rating
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings, Rows
from trainer.reward.head.model import Head
from trainer.reward.head.posterior import JITTERS, kernel_root, precision

F64 = torch.float64
SETTINGS = HeadSettings()


class Planted:
    """Answers whose reward is a direction in one of two groups of features, and people who judge by it."""

    def __init__(self, answers: int = 300, width: int = 12, seed: int = 0) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.features = {
            "told": torch.randn(answers, width, generator=self.draw),
            "noise": torch.randn(answers, width, generator=self.draw),
        }
        direction = torch.randn(width, generator=self.draw, dtype=F64)
        self.reward = self.features["told"].double() @ direction / width**0.5

    def pick(self, count: int) -> Tensor:
        return torch.randint(len(self.reward), (count,), generator=self.draw)

    def logistic(self, count: int) -> Tensor:
        return torch.logit(torch.rand(count, generator=self.draw, dtype=F64).clamp(1e-9, 1 - 1e-9))

    def comparisons(self, count: int, nu: float = 0.0, strength: float = 2.0) -> list[Comparison]:
        left, right = self.pick(count), self.pick(count)
        delta = strength * (self.reward[left] - self.reward[right])
        weights = torch.stack([(delta / 2).exp(), torch.full_like(delta, nu), (-delta / 2).exp()], 1)
        said = torch.multinomial(weights, 1, generator=self.draw)[:, 0]
        names = ("left", "tie", "right")
        return [
            Comparison(int(a), int(b), names[int(verdict)], None, "anna", f"p{row % 40}")
            for row, (a, b, verdict) in enumerate(zip(left, right, said, strict=True))
        ]

    def ratings(self, count: int, cuts: tuple[float, ...], leniency: dict[str, float], scale: float = 2.0) -> list[Rating]:
        found = []
        for name, lean in leniency.items():
            rows = self.pick(count)
            heard = scale * self.reward[rows] + lean + self.logistic(count)
            scores = 1 + (heard[:, None] > torch.tensor(cuts, dtype=F64)).sum(1)
            found += [Rating(int(a), int(score), name, f"p{int(a) % 40}") for a, score in zip(rows, scores, strict=True)]
        return found

    def agreement(self, found: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([self.reward, found]))[0, 1])


CUTS = (-2.5, -1.0, 0.5, 2.0)
LENIENT = {"kind": 1.2, "fair": 0.0, "stern": -1.2}


def leniencies(head: Head) -> list[float]:
    """Of the kind one and the stern one, beside the fair one's."""
    return [head.leniency[name] - head.leniency["fair"] for name in ("kind", "stern")]


def test_a_planted_reward_is_recovered_and_the_group_that_says_nothing_is_left_out() -> None:
    planted = Planted()

    head = fit(planted.features, planted.comparisons(600), [], SETTINGS)

    assert planted.agreement(head.reward(planted.features)) > 0.95
    assert head.shares().get("noise", 0.0) < 0.1


def test_more_labels_bring_more_of_it_back() -> None:
    planted = Planted()
    judged = planted.comparisons(400)

    few, many = (fit(planted.features, judged[:count], [], SETTINGS) for count in (30, 400))

    assert planted.agreement(many.reward(planted.features)) > planted.agreement(few.reward(planted.features))

    def doubt(head: Head) -> float:
        return float(head.deviation(planted.features).mean() / head.reward(planted.features).std())

    assert doubt(many) < 0.7 * doubt(few)


@pytest.mark.parametrize("seed", range(3))
def test_the_readiness_to_tie_is_recovered(seed: int) -> None:
    planted = Planted(seed=seed)

    head = fit(planted.features, planted.comparisons(1500, nu=1.5), [], SETTINGS)

    assert head.log_nu == pytest.approx(math.log(1.5), abs=0.12)  # .08 at most in ten seeds


def test_cutpoints_and_leniencies_are_recovered_from_ratings_alone() -> None:
    """Of five seeds each within what chance leaves (a leniency's standard error is .13), and right on average."""
    leanings, gaps = [], []
    for seed in range(5):
        planted = Planted(seed=seed)
        head = fit(planted.features, [], planted.ratings(400, CUTS, LENIENT), SETTINGS)
        assert planted.agreement(head.reward(planted.features)) > 0.985
        leanings.append(leniencies(head))
        gaps.append([high - low for low, high in pairwise(head.cutpoints)])
        assert leanings[-1] == pytest.approx([1.2, -1.2], abs=0.35)
        assert gaps[-1] == pytest.approx([1.5, 1.5, 1.5], abs=0.25)
    assert torch.tensor(leanings).mean(0).tolist() == pytest.approx([1.2, -1.2], abs=0.12)
    assert torch.tensor(gaps).mean(0).tolist() == pytest.approx([1.5, 1.5, 1.5], abs=0.08)


def test_comparisons_and_ratings_feed_one_reward() -> None:
    planted = Planted(seed=3)
    judged, rated = planted.comparisons(60), planted.ratings(60, (-2.5, -1.0, 0.5, 2.0), {"kind": 1.0})

    both = fit(planted.features, judged, rated, SETTINGS)

    alone = max(
        planted.agreement(fit(planted.features, judged, [], SETTINGS).reward(planted.features)),
        planted.agreement(fit(planted.features, [], rated, SETTINGS).reward(planted.features)),
    )
    assert planted.agreement(both.reward(planted.features)) > alone


def test_both_bad_says_that_both_are_low() -> None:
    planted = Planted()
    judged = planted.comparisons(150)
    order = planted.reward.argsort()
    low = [int(row) for row in order[:40]]
    bad = [Comparison(a, b, "both_bad", None, "anna", "p1") for a, b in zip(low[::2], low[1::2], strict=True)]
    ties = [label._replace(choice="tie") for label in bad]

    said = fit(planted.features, judged + bad, [], HeadSettings(both_bad_weight=1.0)).reward(planted.features)
    unsaid = fit(planted.features, judged + ties, [], SETTINGS).reward(planted.features)

    def depth(reward: Tensor) -> float:
        return float((reward[low].mean() - reward.mean()) / reward.std())

    assert depth(said) < depth(unsaid)


def test_the_posterior_is_the_dense_one_with_more_rows_than_features_and_with_fewer() -> None:
    planted = Planted(answers=120, width=8)
    for count in (12, 200):
        judged = planted.comparisons(count)
        head = fit(planted.features, judged, [], SETTINGS)

        rows = Rows(judged, [], SETTINGS)
        columns = torch.cat([group.standardise(planted.features[name]) for name, group in head.groups.items()], 1)
        prior = torch.cat([torch.full((8,), group.prior, dtype=F64) for group in head.groups.values()])
        design = rows.design(columns)
        u = (rows.design(head.reward(planted.features)[:, None])[:, 0]).requires_grad_()
        (slope,) = torch.autograd.grad(rows.loglik(u, rows.known(head)).sum(), u, create_graph=True)
        (curve,) = torch.autograd.grad(slope.sum(), u)
        covariance = torch.linalg.inv(torch.diag(1 / prior) - (design.T * curve) @ design)
        expected = ((columns @ covariance) * columns).sum(1).sqrt()

        torch.testing.assert_close(head.deviation(planted.features), expected, rtol=1e-3, atol=1e-4)
        weights = torch.cat([group.weights.double() for group in head.groups.values()])
        torch.testing.assert_close(design.T @ slope.detach(), weights / prior, rtol=1e-2, atol=1e-2)  # the gradient is 0 there


def test_the_same_labels_give_the_same_head() -> None:
    planted = Planted()
    judged = planted.comparisons(100, nu=0.5)

    one, other = (fit(planted.features, judged, [], SETTINGS) for _ in range(2))

    assert torch.equal(one.reward(planted.features), other.reward(planted.features))


def test_a_feature_that_never_varies_does_no_harm() -> None:
    planted = Planted()
    planted.features["noise"] = torch.ones_like(planted.features["noise"])

    head = fit(planted.features, planted.comparisons(100), [], SETTINGS)

    assert bool(torch.isfinite(head.reward(planted.features)).all())


def test_no_labels_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one label"):
        fit(Planted().features, [], [], SETTINGS)


def test_the_annotator_who_exchanges_sides_is_found_and_then_does_no_harm() -> None:
    planted = Planted(seed=5)
    judged = planted.comparisons(450)
    other = {"left": "right", "right": "left", "tie": "tie"}
    judged = [
        label._replace(annotator="ben", choice=other[label.choice]) if row % 3 == 0 else label._replace(annotator=f"a{row % 3}")
        for row, label in enumerate(judged)
    ]

    trusting = fit(planted.features, judged, [], SETTINGS)
    wary = fit(planted.features, judged, [], HeadSettings(reliability=True))

    assert wary.reliability["ben"] < 0.25 < 0.8 < min(wary.reliability["a1"], wary.reliability["a2"])
    assert not trusting.reliability
    assert planted.agreement(wary.reward(planted.features)) > 0.93
    assert planted.agreement(wary.reward(planted.features)) > planted.agreement(trusting.reward(planted.features)) + 0.02


def test_rewards_cutpoints_and_leniencies_are_recovered_together() -> None:
    """Comparisons and ratings both carry twice the planted reward: the scale that ties them together is 1.

    What ratings say of the reward, scale times deviation, is known well; how it parts between the two, comparisons alone tell,
    whose prior draws them a little to 0.
    """
    leanings, gaps = [], []
    for seed in range(3):
        planted = Planted(seed=seed)
        head = fit(planted.features, planted.comparisons(400, nu=0.7), planted.ratings(250, CUTS, LENIENT), SETTINGS)
        found = head.reward(planted.features)
        assert planted.agreement(found) > 0.98
        deviation = float(found.std() / planted.reward.std())
        assert head.scale * deviation == pytest.approx(2.0, rel=0.12)
        assert head.scale == pytest.approx(1.0, abs=0.35)
        assert deviation == pytest.approx(2.0, rel=0.25)
        assert head.log_nu == pytest.approx(math.log(0.7), abs=0.3)
        leanings.append(leniencies(head))
        gaps.append([high - low for low, high in pairwise(head.cutpoints)])
        assert leanings[-1] == pytest.approx([1.2, -1.2], abs=0.4)
        assert gaps[-1] == pytest.approx([1.5, 1.5, 1.5], abs=0.35)
    assert torch.tensor(leanings).mean(0).tolist() == pytest.approx([1.2, -1.2], abs=0.15)
    assert torch.tensor(gaps).mean(0).tolist() == pytest.approx([1.5, 1.5, 1.5], abs=0.15)


def test_a_warm_refit_ends_where_the_earlier_fit_did_and_goes_on_from_there() -> None:
    planted = Planted(seed=2)
    judged = planted.comparisons(500, nu=0.5)
    first = fit(planted.features, judged[:300], [], SETTINGS)

    same = fit(planted.features, judged[:300], [], SETTINGS, first)
    more = fit(planted.features, judged, [], SETTINGS, first)

    torch.testing.assert_close(same.reward(planted.features), first.reward(planted.features), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(same.deviation(planted.features), first.deviation(planted.features), rtol=1e-3, atol=1e-3)
    assert planted.agreement(more.reward(planted.features)) > planted.agreement(first.reward(planted.features))


def test_float32_products_change_nothing_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted(seed=4)
    judged = planted.comparisons(400, nu=0.5)
    exact = fit(planted.features, judged, [], SETTINGS)

    monkeypatch.setattr("trainer.reward.head.fitting.LARGE", 0.0)
    quick = fit(planted.features, judged, [], SETTINGS)

    torch.testing.assert_close(quick.reward(planted.features), exact.reward(planted.features), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(quick.deviation(planted.features), exact.deviation(planted.features), rtol=1e-3, atol=1e-3)


def test_the_curvature_of_a_doubted_verdict_is_the_expected_one() -> None:
    rows = Rows([Comparison(0, 1, "left", 3, "ben", "p")], [], HeadSettings(reliability=True))
    people = rows.people() | {"trust": torch.logit(torch.tensor([0.7], dtype=F64))}
    u = torch.tensor([-3.0], dtype=F64)  # ben's verdict looks like a slip: the mixture itself curves the other way here

    (curve,) = rows.slopes(u, people)[1]

    information = likelihoods.comparison_information(u, people["log_nu"][0], torch.tensor([0.7], dtype=F64))
    assert float(curve) == pytest.approx(1.5 * float(information), rel=1e-6)
    assert float(curve) > 1e-3


def test_more_labels_than_answers_differ_in_have_a_kernel_that_can_be_factorised() -> None:
    """Comparisons of 40 answers span 39 directions; in float32 their products are wrong by more than the least jitter."""
    draw = torch.Generator().manual_seed(0)
    features = 20 * torch.randn(40, 600, generator=draw)
    sides = torch.randint(40, (500, 2), generator=draw)
    differences = features[sides[:, 0]] - features[sides[:, 1]]
    kernel = (differences @ differences.T).double() / 600
    assert torch.linalg.cholesky_ex(kernel + JITTERS[0] * torch.eye(500, dtype=torch.float64))[1] > 0

    factor = kernel_root(kernel)

    # What is added to the diagonal, of about 400 each: never more than the largest jitter.
    torch.testing.assert_close(factor @ factor.T, kernel, atol=JITTERS[-1] + 1e-6, rtol=1e-12)
    with pytest.raises(ValueError, match="not finite"):
        kernel_root(torch.full((3, 3), float("nan"), dtype=torch.float64))


def test_many_rows_are_weighed_in_parts_and_steered_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted(answers=400)
    labels = planted.comparisons(600)
    whole = fit(planted.features, labels, [], SETTINGS)
    rewards = whole.reward(planted.features)

    monkeypatch.setattr("trainer.reward.head.posterior.CURVED_ROWS", 150)
    monkeypatch.setattr("trainer.reward.head.posterior.ROWS_AT_ONCE", 64)
    monkeypatch.setattr("trainer.reward.head.model.ROWS_AT_ONCE", 7)
    parts = fit(planted.features, labels, [], SETTINGS)

    torch.testing.assert_close(parts.reward(planted.features), rewards, atol=5e-3, rtol=0)
    assert whole.precision is not None
    assert parts.precision is not None
    torch.testing.assert_close(parts.precision, whole.precision, atol=0.05, rtol=0.01)


def test_the_curvature_of_some_rows_weighs_as_that_of_all() -> None:
    draw = torch.Generator().manual_seed(0)
    basis, curve = torch.randn(3000, 4, generator=draw, dtype=F64), torch.rand(3000, generator=draw, dtype=F64)
    exact = basis.T @ (basis * curve[:, None]) + torch.eye(4, dtype=F64)
    factor = precision(basis, curve)
    torch.testing.assert_close(factor @ factor.T, exact)
    some = precision(basis, curve, most=1000)
    torch.testing.assert_close((some @ some.T).diagonal(), exact.diagonal(), rtol=0.15, atol=0)
