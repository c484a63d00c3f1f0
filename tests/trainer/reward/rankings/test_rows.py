"""Rankings as rows of a fit, on rewards that were planted."""

from __future__ import annotations

import pytest
import torch

from trainer.reward.data import Comparison, Labels
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings, Rows
from trainer.reward.held_out import predict
from trainer.reward.rankings.ranking import Ranking

F64 = torch.float64


class Planted:
    """Answers whose reward is a direction of their features, and people who rank four of them by it."""

    def __init__(self, answers: int = 200, width: int = 8) -> None:
        self.draw = torch.Generator().manual_seed(0)
        self.features = {"told": torch.randn(answers, width, generator=self.draw)}
        self.reward = self.features["told"].double() @ torch.randn(width, generator=self.draw, dtype=F64)

    def rankings(self, count: int, *, placed: int = 4, name: str = "anna", sign: float = 1.0) -> list[Ranking]:
        found = []
        for row in range(count):
            answers = torch.randperm(len(self.reward), generator=self.draw)[:4]
            noise = torch.rand(4, generator=self.draw, dtype=F64).log().neg().log().neg()  # Gumbel's: Plackett and Luce's people
            order = (sign * self.reward[answers] + noise).argsort(descending=True).tolist()
            found.append(Ranking(tuple(answers.tolist()), tuple((one,) for one in order[:placed]), (), False, name, f"p{row}"))
        return found


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.double(), other]))[0, 1])


def test_a_reward_is_learned_from_rankings_alone() -> None:
    planted = Planted()
    head = fit(planted.features, [], [], HeadSettings(), rankings=planted.rankings(60))
    assert likeness(head.reward(planted.features), planted.reward) > 0.9


def test_a_whole_order_teaches_more_than_the_best_alone() -> None:
    whole, first = Planted(), Planted()
    most = fit(whole.features, [], [], HeadSettings(), rankings=whole.rankings(25))
    least = fit(first.features, [], [], HeadSettings(), rankings=first.rankings(25, placed=1))
    assert likeness(most.reward(whole.features), whole.reward) > likeness(least.reward(first.features), first.reward)


def test_somebody_who_ranks_upside_down_is_found() -> None:
    planted = Planted()
    people = planted.rankings(60) + planted.rankings(30, name="ben", sign=-1.0)
    head = fit(planted.features, [], [], HeadSettings(reliability=True), rankings=people)
    assert head.reliability["ben"] < 0.3 < 0.7 < head.reliability["anna"]


def test_a_ranking_of_two_fits_as_the_comparison_that_it_is() -> None:
    planted = Planted()
    pairs = [(2 * row, 2 * row + 1) for row in range(80)]
    chosen = [("left", (0,), (1,)) if planted.reward[a] > planted.reward[b] else ("right", (1,), (0,)) for a, b in pairs]
    compared = [Comparison(*pair, one[0], None, "anna", "p") for pair, one in zip(pairs, chosen, strict=True)]
    ranked = [Ranking(pair, one[1:], (), False, "anna", "p") for pair, one in zip(pairs, chosen, strict=True)]
    rows, other = Rows(compared, [], HeadSettings()), Rows([], [], HeadSettings(), rankings=ranked)
    people = {"log_nu": torch.tensor([-0.4], dtype=F64)}
    for reliability in (None, torch.tensor([1.2], dtype=F64)):
        known = people if reliability is None else people | {"trust": reliability}
        u = torch.randn(80, generator=planted.draw, dtype=F64)
        torch.testing.assert_close(rows.loglik(u, known), other.loglik(u, known))
        torch.testing.assert_close(rows.slopes(u, known)[0], other.slopes(u, known)[0])
    torch.testing.assert_close(rows.slopes(u, people)[1], other.slopes(u, people)[1])


@pytest.mark.parametrize("bad", [False, True])
def test_calling_all_bad_says_that_rewards_are_low(bad: bool) -> None:
    planted = Planted()
    low = planted.reward.argsort()[:100].tolist()
    called = [Ranking(tuple(low[at : at + 4]), (), (), bad, "anna", f"q{at}") for at in range(0, 100, 4)]
    rows = Rows([], [], HeadSettings(), rankings=[*called, *planted.rankings(20)])
    assert rows.levels is bad
    assert ("threshold" in rows.people()) is bad
    assert len(rows) == 45 * (6 + bad)


def test_held_out_rankings_are_foretold_by_their_pairs() -> None:
    planted = Planted()
    head = fit(planted.features, [], [], HeadSettings(), rankings=planted.rankings(60))
    best = Ranking((0, 1, 2), ((2,),), (0,), False, "anna", "p")
    equal = Ranking((0, 1, 2), ((0, 1, 2),), (), False, "anna", "p")
    rewards = torch.tensor([0.0, -1.0, 2.0], dtype=F64)

    held = predict(Labels(rankings=[best, equal]), 0, rewards, head)

    assert held.ranking_hit[0] == pytest.approx(2 / 3)  # the last is not above the second
    assert held.ranking_hit[1].isnan()
    assert (held.ranking_loglik < 0).all()
