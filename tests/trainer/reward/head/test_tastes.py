"""People whose tastes were planted, and what the fit makes of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.reward.data import Comparison, Rating
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import HeadSettings, Rows
from trainer.reward.head.posterior import newton, product
from trainer.reward.head.tastes import differ, first_places, leading, sides
from trainer.reward.people.checks import Checks

F64 = torch.float64


class Crowd:
    """Ten people and pairs of answers; `minority` of them like another direction of the features."""

    def __init__(self, labels: int = 260, minority: int = 4, width: int = 8, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.features = {"told": torch.randn(2 * labels + 800, width, generator=draw)}
        both = torch.linalg.qr(torch.randn(width, 2, generator=draw))[0]
        self.rewards = 4 * self.features["told"] @ both  # (answers, tastes)
        self.comparisons = []
        for number in range(labels):
            person = number % 10
            delta = float(self.rewards[2 * number, int(person < minority)] - self.rewards[2 * number + 1, int(person < minority)])
            left = float(torch.rand(1, generator=draw)) < 1 / (1 + 2.718281828**-delta)
            self.comparisons.append(
                Comparison(2 * number, 2 * number + 1, "left" if left else "right", None, f"person {person}", f"p{number % 50}")
            )
        self.fresh = torch.arange(2 * labels, 2 * labels + 800, 2)

    def agreement(self, reward: Tensor, taste: int) -> float:
        """Share of fresh pairs put as people of this taste would without any noise."""
        found, true = (values[self.fresh] - values[self.fresh + 1] for values in (reward, self.rewards[:, taste]))
        return float(((found > 0) == (true > 0)).float().mean())


def test_two_planted_tastes_are_told_apart_and_either_can_be_followed() -> None:
    crowd = Crowd()

    head = fit(crowd.features, crowd.comparisons, [], HeadSettings(taste=True))

    counts = dict.fromkeys(head.taste, 26)
    larger, smaller = sides(head.taste, counts)
    assert sorted(smaller) == [f"person {number}" for number in range(4)]
    for people, taste in ((larger, 0), (smaller, 1)):
        own = [label for label in crowd.comparisons if label.annotator in people]
        alone = fit(crowd.features, own, [], HeadSettings()).reward(crowd.features)
        followed = head.following(people).reward(crowd.features)
        assert crowd.agreement(followed, taste) > crowd.agreement(alone, taste) - 0.02
        assert crowd.agreement(followed, taste) > crowd.agreement(head.reward(crowd.features), taste) + 0.05


def test_with_many_columns_either_group_loses_nothing_to_a_reward_of_its_own() -> None:
    """Where places grew for the sake of an axis of 120 columns, following either group was .022 short."""
    short = []
    for seed in range(4):
        crowd = Crowd(labels=400, width=120, seed=seed)
        head = fit(crowd.features, crowd.comparisons, [], HeadSettings(taste=True))
        for taste, people in enumerate(sides(head.taste, dict.fromkeys(head.taste, 40))):
            own = [label for label in crowd.comparisons if label.annotator in people]
            alone = fit(crowd.features, own, [], HeadSettings()).reward(crowd.features)
            followed = head.following(people).reward(crowd.features)
            short.append(crowd.agreement(alone, taste) - crowd.agreement(followed, taste))
        assert sum(head.taste[label.annotator] ** 2 for label in crowd.comparisons) == pytest.approx(400, rel=1e-6)

    assert sum(short) / len(short) < 0.01


def test_whoever_is_followed_the_places_of_people_and_their_own_rewards_stay() -> None:
    crowd = Crowd(labels=200)
    head = fit(crowd.features, crowd.comparisons, [], HeadSettings(taste=True))
    followed = head.following(["person 1"])

    def own(head: object, name: str) -> Tensor:
        found: Tensor = head.reward(crowd.features) + (head.taste[name] - head.followed) * head.axis(crowd.features)  # type: ignore[attr-defined]
        return found

    assert torch.allclose(own(head, "person 7"), own(followed, "person 7"), atol=1e-4)
    assert torch.allclose(own(head, "person 1"), followed.reward(crowd.features), atol=1e-4)
    assert head.following(["a stranger"]) is head


def test_everybodys_mean_is_the_mean_place_of_the_labels() -> None:
    crowd = Crowd(labels=200)

    head = fit(crowd.features, crowd.comparisons, [], HeadSettings(taste=True))

    assert head.followed == pytest.approx(sum(head.taste[label.annotator] for label in crowd.comparisons) / 200, abs=1e-9)


def test_the_slope_in_both_parts_is_that_of_finite_differences() -> None:
    """Of the whole objective, ratings and bad pairs included, in a weight, in a weight of the axis and in a place."""
    crowd = Crowd(labels=30)
    judged = [label._replace(choice="both_bad") if row % 7 == 0 else label for row, label in enumerate(crowd.comparisons)]
    rated = [Rating(row, 1 + row % 5, f"person {row % 3}", "p") for row in range(20)]
    rows = Rows(judged, rated, HeadSettings(taste=True, reliability=True), checks={"person 1": Checks(9, 7, 8, 3)})
    draw = torch.Generator().manual_seed(5)
    design = rows.design(crowd.features["told"])
    people = rows.people() | {"taste": torch.randn(10, generator=draw, dtype=F64)}
    weights = torch.randn(design.shape[1], 2, generator=draw, dtype=F64)

    def objective(weights: Tensor, place: Tensor) -> Tensor:
        own = people | {"taste": place}
        return rows.loglik(rows.told(design @ weights, own), own).sum() + rows.log_prior(own) - weights.square().sum() / 2

    slope = rows.slopes(rows.told(design @ weights, people), people)[0]
    found = product(design.T, rows.parted(slope, people)) - weights
    step = 1e-5
    for place in ((3, 0), (4, 1)):
        moved = torch.zeros_like(weights)
        moved[place] = step
        wanted = (objective(weights + moved, people["taste"]) - objective(weights - moved, people["taste"])) / (2 * step)
        assert float(found[place]) == pytest.approx(float(wanted), rel=1e-6)
    at = people["taste"].clone().requires_grad_()
    (by_place,) = torch.autograd.grad(objective(weights, at), at)
    moved = torch.zeros(10, dtype=F64)
    moved[2] = step
    wanted = (objective(weights, people["taste"] + moved) - objective(weights, people["taste"] - moved)) / (2 * step)
    assert float(by_place[2]) == pytest.approx(float(wanted), rel=1e-6)


def test_in_either_space_mode_and_posterior_are_the_same() -> None:
    """With as many columns as labels or fewer the work is done among columns, else among labels."""
    crowd = Crowd(labels=60, width=40)
    few = fit(crowd.features, crowd.comparisons[:40], [], HeadSettings(taste=True))  # 40 columns, 40 rows
    padded = {"told": torch.cat([crowd.features["told"], torch.zeros(len(crowd.features["told"]), 1)], 1)}  # 41 columns
    many = fit(padded, crowd.comparisons[:40], [], HeadSettings(taste=True))

    assert few.precision is not None
    assert many.precision is None
    assert torch.allclose(few.reward(crowd.features), many.reward(padded), atol=2e-3)
    assert torch.allclose(few.deviation(crowd.features), many.deviation(padded), atol=2e-3)


def test_one_column_and_two_people_by_hand() -> None:
    """Two people, one says left where the other says right, of one feature: the places are opposite and of unit size, and the
    axis is where what the eight say pulls as its prior does, 8 sigmoid(-v_d) = v_d, with v_w = 0.
    """
    features = {"told": torch.tensor([[0.5], [-0.5]])}
    judged = [Comparison(0, 1, choice, None, name, "p") for name, choice in (("a", "left"), ("b", "right")) for _ in range(4)]
    rows = Rows(judged, [], HeadSettings(taste=True))
    people = {"log_nu": torch.tensor([-40.0], dtype=F64), "taste": torch.tensor([1.0, -1.0], dtype=F64)}
    rows.log_prior = lambda people: -0.5 * people["taste"].square().sum()  # type: ignore[method-assign]  # nobody ties

    weights = newton(rows, rows.design(features["told"]), rows.nothing(1, people), people, 48)

    axis = float(weights[0, 1])
    assert float(weights[0, 0]) == pytest.approx(0.0, abs=1e-6)
    assert people["taste"].tolist() == pytest.approx([1.0, -1.0], abs=1e-4)
    assert 8 / (1 + 2.718281828**axis) == pytest.approx(axis, rel=1e-3)


def test_at_the_mode_places_pull_in_no_direction_that_keeps_their_size() -> None:
    """Uneven shares of labels among people, so that the pull along their size is not along Newton's step."""
    crowd = Crowd(labels=400, width=40)
    judged = [label for row, label in enumerate(crowd.comparisons) if row % 10 < 5 or row % 3]
    rows = Rows(judged, [], HeadSettings(taste=True))
    design = rows.design(crowd.features["told"]) / 40**0.5
    people = rows.people()
    people["taste"] = first_places(rows, design, people)

    weights = newton(rows, design, rows.nothing(40, people), people, 48)

    place = people["taste"].clone().requires_grad_()
    own = people | {"taste": place}
    (slope,) = torch.autograd.grad(rows.loglik(rows.told(design @ weights, own), own).sum() + rows.log_prior(own), place)
    size = people["taste"] * torch.bincount(rows.person)
    along = slope - size * (size @ slope) / (size @ size)
    assert float(along.abs().max()) < 1e-2
    assert float(slope.abs().max()) > 1  # they would grow


def test_a_warm_refit_of_new_people_begins_as_a_first_fit_does() -> None:
    """With everybody in the middle the axis has nothing to begin with."""
    crowd = Crowd(labels=300)
    earlier = fit(crowd.features, crowd.comparisons, [], HeadSettings(taste=True))
    renamed = [label._replace(annotator=f"new {label.annotator}") for label in crowd.comparisons]

    warm = fit(crowd.features, renamed, [], HeadSettings(taste=True), earlier)

    assert sorted(sides(warm.taste, dict.fromkeys(warm.taste, 30))[1]) == [f"new person {number}" for number in range(4)]


def test_people_who_are_alike_seem_to_differ_no_more_than_chance_makes_them() -> None:
    """The p value is uniform where nobody differs, and small where tastes do."""

    def p(minority: int, seed: int) -> float:
        crowd = Crowd(labels=300, minority=minority, seed=seed)
        rows = Rows(crowd.comparisons, [], HeadSettings(), levels=False)
        slope, _ = rows.slopes(torch.zeros(300, dtype=F64), rows.people())  # of a reward that knows nothing
        common = rows.design(crowd.rewards[:, :1])[:, 0]
        slope, _ = rows.slopes(common, rows.people())
        return differ(rows, rows.design(crowd.features["told"]), slope, seed)

    alike = [p(0, seed) for seed in range(20)]
    assert sum(one <= 0.1 for one in alike) <= 5
    assert 0.3 < sum(alike) / 20 < 0.7
    assert max(p(4, seed) for seed in range(3)) <= 0.01


def test_the_first_places_part_those_of_another_taste() -> None:
    crowd = Crowd()
    rows = Rows(crowd.comparisons, [], HeadSettings())
    common = rows.design(crowd.rewards.mean(1, keepdim=True))[:, 0]

    places = leading(rows, rows.design(crowd.features["told"]), rows.slopes(common, rows.people())[0])

    signs = places.sign().tolist()
    assert len(set(signs[:4])) == len(set(signs[4:])) == 1
    assert signs[0] != signs[9]
    assert float(places.square().mean()) == pytest.approx(1.0)


def test_sides_part_people_where_their_places_do_and_the_larger_comes_first() -> None:
    places = {"a": -0.4, "b": -0.5, "c": 1.3, "d": -0.45, "e": 1.2}

    assert sides(places, dict.fromkeys(places, 10)) == (["b", "d", "a"], ["e", "c"])
    # somebody who hardly said anything is no side of their own
    far = places | {"f": -30.0}
    assert sorted(sides(far, dict.fromkeys(places, 1000) | {"f": 0})[1]) == ["c", "e"]


def test_a_warm_refit_begins_at_the_places_that_were_found() -> None:
    crowd = Crowd()
    settings = HeadSettings(taste=True)
    earlier = fit(crowd.features, crowd.comparisons[:200], [], settings)

    warm = fit(crowd.features, crowd.comparisons, [], settings, earlier)
    again = fit(crowd.features, crowd.comparisons, [], settings, warm)

    assert torch.allclose(warm.reward(crowd.features), again.reward(crowd.features), atol=0.02)
    people = [name for name in warm.taste if int(name[-1]) < 4]
    assert crowd.agreement(warm.following(people).reward(crowd.features), 1) > 0.85
