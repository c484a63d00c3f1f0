"""What an evaluation will take: by hand where that can be done, as `decide` decides, and soon enough for a page."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from app.evaluation.decision import DEFAULT_UNITS, Evidence, Unit, decide, differences
from app.evaluation.planning import NEVER, expected, flagged, play, verdicts


def test_the_power_of_eight_prompts_by_hand() -> None:
    """Seven wins promote, and a loss among eight does not: .9^7 = .478 where nine in ten are won."""
    (one,) = expected(planned=8, rates=(0.9,))
    assert one.power == pytest.approx(0.9**7, abs=0.05)
    (sure,) = expected(planned=8, rates=(0.999999,))
    assert (sure.units, sure.verdicts, sure.power) == (7.0, 7.0, 1.0)


def test_the_default_budget_sees_a_win_rate_of_sixty_in_nine_of_ten() -> None:
    by_rate = {one.rate: one for one in expected()}
    assert by_rate[0.6].power > 0.9
    assert by_rate[0.55].power < by_rate[0.6].power < by_rate[0.7].power
    assert by_rate[0.7].units < by_rate[0.6].units < by_rate[0.55].units < DEFAULT_UNITS


def test_what_makes_an_evaluation_longer_or_shorter() -> None:
    def units(**settings: object) -> float:
        return expected(rates=(0.65,), **settings)[0].units

    plain = units()
    assert units(tie_share=0.4) < plain  # a tie says that they are near each other, and deviates less than a win and a loss
    assert units(verdicts_per_unit=5) < plain
    assert units(candidates=4) > plain
    assert units(flag_shares=(0.1,)) > plain
    assert units(flag_shares=(0.1,), flag_margin=0.3) < units(flag_shares=(0.1,))
    several = expected(rates=(0.65,), verdicts_per_unit=5)[0]
    assert several.verdicts == pytest.approx(5 * several.units)


def test_each_play_is_decided_as_one_evaluation_would_be() -> None:
    draw = np.random.default_rng(4)
    values = np.concatenate([verdicts(draw, 0.64, 0.2, 2, (120, 30)), verdicts(draw, 0.35, 0.2, 2, (120, 10))], axis=1)
    flags = {"a": flagged(draw, 0.05, 0.1, 2, (120, 40)), "b": flagged(draw, 0.05, 0.02, 2, (120, 40))}
    told, unasked = draw.random((120, 40)), draw.random((240, 40))
    units = [[Unit(value, one) for value, one in zip(values[:, n], told[:, n], strict=True)] for n in range(40)]
    apart = [differences(units[n], unasked[:, n].tolist(), 120) for n in range(40)]
    looks = play(values, flags=list(flags.values()), differences=np.array(apart, dtype=float).T)
    ends = set()
    for n in range(40):
        evidence = Evidence(units[n], {key: shares[:, n].tolist() for key, shares in flags.items()}, unasked[:, n].tolist())
        verdict = decide({1: evidence}, planned=120).verdicts[1]
        assert verdict.promotes == (looks.promoted[n] < NEVER)
        assert (verdict.rejects and not verdict.spent) == (looks.rejected[n] < NEVER)
        assert verdict.units == min(looks.decided[n], 120)
        ends.add((verdict.promotes, verdict.rejects, verdict.spent))
    assert len(ends) == 3


def test_verdicts_have_the_mean_and_the_ties_that_were_asked_for() -> None:
    draw = np.random.default_rng(6)
    for rate, ties in ((0.6, 0.3), (0.95, 0.5), (0.5, 1.0)):
        values = verdicts(draw, rate, ties, 1, (400, 400))
        assert values.mean() == pytest.approx(rate, abs=0.005)
        assert (values == 0.5).mean() == pytest.approx(min(ties, 2 * (1 - rate)), abs=0.005)
    each = verdicts(draw, 0.6, 0.0, 400, (1, 4000))
    assert each.std() == pytest.approx((0.2**2 + 0.2 / 400) ** 0.5, abs=0.01)


def test_a_page_does_not_wait_for_it() -> None:
    draw = random.Random()
    begun = time.process_time()
    expected(tie_share=draw.random() / 2, flag_shares=(0.02, 0.05))
    assert time.process_time() - begun < 1.5
    begun = time.process_time()
    for _ in range(100):
        expected()
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("wrong", [{"planned": 0}, {"tie_share": 1.5}, {"candidates": 0}, {"rates": (1.0,)}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        expected(**wrong)
