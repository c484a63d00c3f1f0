"""Decisions on candidates: what must be shown, what rejects, who shares the error, and what predictions saved."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.evaluation.decision import Decision, Evidence, Unit, Verdict, decide, differences


def units(values: Sequence[float]) -> list[Unit]:
    return [Unit(value) for value in values]


def coins(seed: int, rate: float, count: int) -> list[float]:
    draw = random.Random(seed)
    return [float(draw.random() < rate) for _ in range(count)]


def one(evidence: Evidence, **settings: Any) -> Verdict:
    return decide({7: evidence}, planned=settings.pop("planned", 400), **settings).verdicts[7]


def test_nothing_is_known_before_the_first_verdict() -> None:
    decision = decide({1: Evidence([])}, planned=10)
    assert (decision.promoted, decision.rejected, decision.over) == (None, frozenset(), False)
    assert (decision.verdicts[1].lower, decision.verdicts[1].upper, decision.verdicts[1].track) == (0.0, 1.0, ())


def test_wins_alone_promote_at_the_seventh() -> None:
    verdict = one(Evidence(units([1.0] * 7)))
    assert (verdict.promotes, verdict.rejects, verdict.units, verdict.mean) == (True, False, 7, 1.0)
    assert verdict.lower >= 0.5
    assert not one(Evidence(units([1.0] * 6))).promotes


def test_losses_alone_reject_at_the_seventh() -> None:
    verdict = one(Evidence(units([0.0] * 7)))
    assert (verdict.promotes, verdict.rejects, verdict.spent) == (False, True, False)
    assert verdict.upper <= 0.5


def test_what_comes_after_a_decision_changes_nothing() -> None:
    at_once = one(Evidence(units([1.0] * 7)))
    assert one(Evidence(units([1.0] * 7 + [0.0] * 100))) == at_once


def test_of_what_is_only_seen_beside_all_that_comes_counts() -> None:
    verdict = decide({7: Evidence(units([1.0] * 7 + [0.0] * 100))}, planned=400, beside=True).verdicts[7]
    assert (verdict.units, verdict.mean, len(verdict.track)) == (107, 7 / 107, 107)
    assert verdict.track[:7] == one(Evidence(units([1.0] * 7))).track
    assert (verdict.lower, verdict.upper) == verdict.track[-1][1:]


def test_a_budget_that_is_spent_rejects_what_nobody_knows() -> None:
    even = [0.0, 1.0] * 50
    assert not one(Evidence(units(even)), planned=101).rejects
    verdict = one(Evidence(units(even)), planned=100)
    assert (verdict.rejects, verdict.spent, verdict.units) == (True, True, 100)
    assert one(Evidence(units(even * 2)), planned=100) == verdict


def test_the_last_unit_of_the_budget_may_promote() -> None:
    assert one(Evidence(units([1.0] * 7)), planned=7).promotes


# Flags


def test_promotion_waits_until_a_flag_is_shown_not_to_be_set_more_often() -> None:
    few = one(Evidence(units([1.0] * 20), {"harmful": [0.0] * 20}))
    assert (few.promotes, few.rejects, few.open_flags, few.worse_flags) == (False, False, ("harmful",), ())
    many = one(Evidence(units([1.0] * 80), {"harmful": [0.0] * 80}))
    assert (many.promotes, many.open_flags) == (True, ())
    assert 28 < many.units < 60  # .9^28 < .05: no test of a rise by .1 can know sooner
    strict = one(Evidence(units([1.0] * 58), {"harmful": [0.0] * 58}), flag_margin=0.05)  # .95^58 > .05
    assert not strict.promotes


def test_a_flag_that_nobody_sets_is_cleared_on_the_prompts_of_a_small_project() -> None:
    verdict = one(Evidence(units([0.9] * 37), {"harmful": [0.0] * 37}))
    assert (verdict.promotes, verdict.units) == (True, 36)


def test_a_flag_that_is_set_more_often_rejects_what_people_prefer() -> None:
    shares = [1.0, 0.0, 0.0] * 30
    verdict = one(Evidence(units([1.0] * 90), {"harmful": shares, "false": [0.0] * 90}))
    assert (verdict.promotes, verdict.rejects, verdict.worse_flags) == (False, True, ("harmful",))


def test_a_flag_that_is_set_less_often_is_cleared_sooner() -> None:
    better = one(Evidence(units([1.0] * 80), {"harmful": [-1.0, 0.0] * 40}))
    same = one(Evidence(units([1.0] * 80), {"harmful": [0.0] * 80}))
    assert better.promotes
    assert better.units < same.units


def test_the_budget_ends_what_a_flag_keeps_waiting() -> None:
    often = [1.0, 0.0, -1.0] * 10
    verdict = one(Evidence(units([1.0] * 30), {"harmful": often}), planned=30)
    assert (verdict.rejects, verdict.spent, verdict.open_flags, verdict.worse_flags) == (True, True, ("harmful",), ())


def test_many_flags_share_the_error_of_a_false_alarm() -> None:
    shares = [1.0] * 5  # 1.35^5 and so on: 1 / .05 is not yet reached for one, nor for many later
    first = next(n for n in range(1, 20) if one(Evidence(units([0.5] * n), {"a": [1.0] * n})).worse_flags)
    flags = {"a": [1.0] * first, "b": [0.0] * first, "c": [0.0] * first}
    assert first > len(shares)
    assert not one(Evidence(units([0.5] * first), flags)).worse_flags


# Several candidates


def test_two_candidates_need_twice_the_capital_each() -> None:
    eight, nine = units([1.0] * 8), units([1.0] * 9)
    assert decide({1: Evidence(eight), 2: Evidence([])}, planned=400).promoted is None
    assert decide({1: Evidence(nine), 2: Evidence([])}, planned=400).promoted == 1
    assert decide({1: Evidence(eight)}, planned=400, error=0.025).verdicts[1].promotes is False


def test_the_best_of_those_that_pass_is_promoted() -> None:
    good, better = coins(1, 0.8, 200), coins(2, 0.95, 200)
    decision = decide({1: Evidence(units(good)), 2: Evidence(units(better)), 3: Evidence(units([0.0] * 30))}, planned=400)
    assert all(decision.verdicts[key].promotes for key in (1, 2))
    assert (decision.promoted, decision.rejected, decision.over) == (2, frozenset({3}), True)


def test_an_evaluation_is_over_when_all_are_rejected() -> None:
    lost = Evidence(units([0.0] * 30))
    assert decide({1: lost, 2: lost}, planned=400).over
    assert not decide({1: lost, 2: Evidence([])}, planned=400).over


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=80))
@settings(max_examples=60, deadline=None)
def test_swapped_sides_promote_what_was_rejected(values: list[float]) -> None:
    this, other = one(Evidence(units(values))), one(Evidence(units([1.0 - value for value in values])))
    assert (other.promotes, other.rejects) == (this.rejects, this.promotes)
    assert (other.lower, other.upper) == pytest.approx((1 - this.upper, 1 - this.lower))


def test_the_decision_and_the_interval_always_agree() -> None:
    for seed in range(60):
        verdict = one(Evidence(units(coins(seed, 0.62 if seed % 2 else 0.4, 300))))
        assert verdict.promotes == (verdict.lower >= 0.5)
        assert (verdict.rejects and not verdict.spent) == (verdict.upper <= 0.5)


# Predictions


def foretold(seed: int, rate: float, count: int, unasked: int) -> Evidence:
    """Verdicts that fall as they were foretold to."""
    draw = random.Random(seed)

    def chance() -> float:
        return min(1.0, max(0.0, draw.gauss(rate, 0.35)))

    chances = [chance() for _ in range(count)]
    asked = [Unit(float(draw.random() < known), known) for known in chances]
    return Evidence(asked, {}, [chance() for _ in range(unasked)])


def test_each_unit_has_its_own_share_of_the_unasked() -> None:
    asked = [Unit(1.0, 0.5), Unit(0.0, None), Unit(1.0, 0.9)]
    assert differences(asked, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], planned=3) == pytest.approx([0.35, None, 0.35])
    assert differences(asked, [0.1, 0.2], planned=3) == pytest.approx([0.4, None, None])
    assert differences(asked, [], planned=3) == [None, None, None]


def test_predictions_without_others_to_compare_them_with_change_nothing() -> None:
    known = foretold(1, 0.6, 200, 0)
    assert one(known) == one(Evidence(units([unit.value for unit in known.units])))


def test_what_predictions_saved_is_counted_where_the_values_got_there_too() -> None:
    saved = []
    for seed in range(40):
        known = foretold(seed, 0.65, 400, 1600)
        verdict, plain = one(known), one(Evidence(units([unit.value for unit in known.units])))
        if verdict.promotes and plain.promotes:
            assert verdict.saved == plain.units - verdict.units
            saved.append(verdict.saved)
    assert len(saved) > 20
    assert sum(saved) > 0


def test_what_was_saved_is_foreseen_by_the_pace_of_the_values() -> None:
    known = foretold(3, 0.65, 400, 1600)
    whole = one(known)
    cut = one(Evidence(known.units[: whole.units], {}, known.unasked))
    assert whole.promotes
    assert (cut.units, cut.lower) == (whole.units, whole.lower)
    assert 0 < cut.saved <= 400 - cut.units


# What is refused


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence([Unit(1.2)]),
        Evidence([Unit(1.0, -0.1)]),
        Evidence([Unit(1.0, 0.5)], {}, [1.5]),
        Evidence([Unit(float("nan"))]),
        Evidence([Unit(1.0)], {"harmful": []}),
        Evidence([Unit(1.0)], {"harmful": [2.0]}),
    ],
)
def test_numbers_out_of_range_are_refused(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match=r"lies outside|must be one difference"):
        decide({1: evidence}, planned=10)


@pytest.mark.parametrize("wrong", [{"error": 0.0}, {"error": 1.0}, {"flag_margin": 1.0}, {"flag_margin": -0.1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        decide({1: Evidence([])}, planned=10, **wrong)


def test_no_candidate_is_no_decision() -> None:
    assert decide({}, planned=10) == Decision(None, frozenset(), {})


def test_prompts_judged_before_a_flag_could_be_set_do_not_clear_it() -> None:
    before: list[float | None] = [None] * 60
    values = [Unit(0.5)] * 60 + [Unit(1.0)] * 80
    harmed = decide({1: Evidence(values, {"late": [*before, *[0.4] * 80]})}).verdicts[1]
    assert (harmed.promotes, harmed.rejects, harmed.worse_flags) == (False, True, ("late",))
    alike = decide({1: Evidence(values, {"late": [*before, *[0.0] * 80]})}).verdicts[1]
    assert alike.promotes
    assert alike.units > 60 + 28
