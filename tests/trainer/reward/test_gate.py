"""The gate of a reward: exact against all signs, and what passes under noise. `bench/gates.py` simulates more of it."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch

from trainer.contract.english import english
from trainer.reward.gate import CROSS_VALIDATION, gate, least_p_value, level, looked, p_value

HITS = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.0])
PROMPTS = ["p", "p", "q", "q", "r", "s", "t", "t", "u", "v", "w"]  # hits less misses: 2, 0, 1, 1, 1, 1, 1, -1


def test_the_p_value_is_the_share_of_signs_that_do_as_well() -> None:
    sums = [2, 0, 1, 1, 1, 1, 1, -1]
    needed = sum(sums) / math.sqrt(CROSS_VALIDATION)
    ways = [sum(sign * size for sign, size in zip(signs, sums, strict=True)) for signs in product((-1, 1), repeat=len(sums))]

    assert p_value(HITS, PROMPTS) == pytest.approx(sum(total >= needed for total in ways) / len(ways))
    assert p_value(1 - HITS, PROMPTS) == pytest.approx(sum(total >= -needed for total in ways) / len(ways))


def test_what_is_right_as_often_as_not_could_be_guessed() -> None:
    assert p_value(torch.tensor([1.0, 0.0]), ["p", "q"]) == pytest.approx(0.75)  # 0 or 2 of 4 ways above, 1 below
    assert p_value(torch.tensor([0.5, 0.5]), ["p", "q"]) == 1
    assert p_value(torch.zeros(0), []) is None


def test_judgements_said_four_times_count_once() -> None:
    apart = [f"p{row}" for row in range(40)]
    hits = torch.tensor([1.0] * 30 + [0.0] * 10)

    assert p_value(hits.repeat(4), apart * 4) == pytest.approx(p_value(hits, apart))


def test_a_hundred_thousand_judgements_are_tested_too() -> None:
    hits = (torch.arange(100_000) % 100 < 52).float()
    assert 1e-15 <= (p_value(hits, [f"p{row % 30_011}" for row in range(100_000)]) or 0) < 1e-9


def test_all_tests_together_spend_one_error() -> None:
    assert [round(level(earlier), 4) for earlier in range(3)] == [0.025, 0.0083, 0.0042]
    assert sum(level(earlier) for earlier in range(10_000)) < 0.05
    with pytest.raises(ValueError, match="-1"):
        level(-1)


def figures(hits: int, count: int, prompts: int | None = None, prefix: str = "") -> dict[str, Any]:
    """Of so many judgements, dealt out over so many prompts; of comparisons, or `rating_` pairs."""
    of = torch.tensor([1.0] * hits + [0.0] * (count - hits))[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    keys = [f"p{row % (prompts or count)}" for row in range(count)]
    found: dict[str, Any] = {f"{prefix}accuracy": hits / count, f"{prefix}accuracy_low": 0.5, f"{prefix}accuracy_high": 0.9}
    found |= {f"{prefix}p_value": p_value(of, keys), f"{prefix}least_p_value": least_p_value(keys)}
    nothing = {"decided": 0, "rating_pairs": 0, "ratings": 0}
    return nothing | found | {"rating_pairs" if prefix else "decided": count, f"{prefix or 'decided_'}prompts": len(set(keys))}


def test_the_gate_opens_where_guessing_does_not_reach() -> None:
    passed, reason = gate(figures(150, 200))
    assert passed
    assert "75% of 200 held-out comparisons (prompts: 200) (95% interval 50% to 90%)" in english(reason)

    passed, reason = gate(figures(112, 200))
    assert not passed
    assert reason.code == "reward_within_chance"


def test_every_test_that_did_not_pass_makes_the_next_one_stricter() -> None:
    found = figures(122, 200)
    assert [gate(found, earlier)[0] for earlier in (0, 1, 2)] == [True, False, False]
    assert "at most 0.00833 is allowed; tests before this one: 1" in english(gate(found, 1)[1])


def test_the_gate_reads_ratings_where_there_are_no_comparisons_and_refuses_to_guess() -> None:
    passed, reason = gate(figures(50, 60, prefix="rating_"))
    assert passed
    assert "60 pairs of held-out ratings of the same prompt" in english(reason)

    few = figures(3, 3)
    assert gate(few)[0] is False
    assert gate(few)[1].code == gate(few | {"ratings": 80, "rating_pairs": 19})[1].code == "too_few_judged"
    assert english(gate(few | {"ratings": 80})[1]).startswith("Ratings do not tell here")
    assert [looked(gate(found)[1]) for found in (figures(50, 60), figures(30, 60))] == [True, True]
    spent_nothing = (few, few | {"ratings": 80}, figures(80, 80, prompts=5))
    assert not any(looked(gate(found)[1]) for found in spent_nothing)


def test_few_prompts_cannot_tell_however_often_they_were_judged() -> None:
    passed, reason = gate(figures(80, 80, prompts=5))
    assert not passed
    assert "even if it were right on all of 80 held-out comparisons (prompts: 5)" in english(reason)
    assert gate(figures(80, 80, prompts=6))[0]
    assert gate(figures(80, 80, prompts=6), 1)[1].code == "too_few_prompts_to_tell"
