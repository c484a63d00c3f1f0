"""DPO's and KTO's losses by hand, and their gradients against the formulas of the papers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.preference.losses import dpo_loss, kto_loss, kto_reference, kto_weights, per_token


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_dpo_of_hand_worked_log_ratios() -> None:
    """-log sigmoid(.5 (2 - 1)) = .474077 and -log sigmoid(.5 (-1 - 3)) = 2.126928; their mean is 1.300502."""
    loss = dpo_loss(numbers(2.0, -1.0), numbers(1.0, 3.0), 0.5, 2)
    assert loss.item() == pytest.approx(1.300502, abs=1e-6)
    assert dpo_loss(numbers(0.0), numbers(0.0), 0.1, 1).item() == pytest.approx(math.log(2), abs=1e-12)


def test_dpos_gradient_is_the_papers() -> None:
    """Section 4: -beta sigmoid(-beta (chosen - rejected)) by the chosen answer's log-ratio, and its opposite by the other's."""
    chosen, rejected = numbers(2.0, -1.0, 0.0), numbers(1.0, 3.0, 0.0)
    dpo_loss(chosen, rejected, 0.5, 3).backward()  # type: ignore[no-untyped-call]
    expected = torch.tensor([-0.5 * sigmoid(-0.5 * margin) / 3 for margin in (1.0, -4.0, 0.0)], dtype=torch.float64)
    torch.testing.assert_close(chosen.grad, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(rejected.grad, -expected, rtol=1e-12, atol=0)


def test_no_log_ratio_is_too_large_for_a_number() -> None:
    chosen, rejected = numbers(-1e4, 1e4), numbers(1e4, -1e4)
    loss = dpo_loss(chosen, rejected, 0.5, 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(5e3)
    torch.testing.assert_close(chosen.grad, torch.tensor([-0.25, 0.0], dtype=torch.float64))


def test_by_the_token_an_answer_of_mean_length_counts_what_it_did() -> None:
    found = per_token(torch.tensor([6.0, 6.0, -3.0]), torch.tensor([2.0, 4.0, 6.0]), 4.0)
    torch.testing.assert_close(found, torch.tensor([12.0, 6.0, -2.0]))


def test_kto_of_hand_worked_log_ratios() -> None:
    """Desirable 3 at z_0 1: 1 - sigmoid(1) = .268941; undesirable 3: sigmoid(1) = .731059, counted twice; over 2: .865529."""
    loss = kto_loss(numbers(3.0, 3.0), torch.tensor([True, False]), torch.tensor(1.0), 0.5, (1.0, 2.0), 2)
    assert loss.item() == pytest.approx(0.865529, abs=1e-6)


def test_ktos_gradient_is_the_papers() -> None:
    """lambda beta sigmoid(u) sigmoid(-u), down for a desirable answer and up for another: most where it is undecided."""
    log_ratios = numbers(3.0, 1.0, -2.0, 9.0)
    desirable = torch.tensor([True, False, True, False])
    kto_loss(log_ratios, desirable, torch.tensor(1.0), 0.5, (1.5, 0.75), 4).backward()  # type: ignore[no-untyped-call]
    expected = [
        (-1.5 if good else 0.75) * 0.5 * sigmoid(u) * sigmoid(-u) / 4
        for u, good in ((1.0, True), (0.0, False), (-1.5, True), (4.0, False))
    ]
    torch.testing.assert_close(log_ratios.grad, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_point_of_reference_is_no_less_than_nought_and_learns_nothing() -> None:
    found = numbers(1.0, 2.0, 6.0)
    assert kto_reference(found).item() == 3.0
    assert not kto_reference(found).requires_grad
    assert kto_reference(numbers(-5.0, 1.0)).item() == 0.0


def test_few_of_one_kind_count_as_much_as_many_of_the_other() -> None:
    good, bad = kto_weights(30, 10)
    assert 30 * good == 10 * bad
    assert (30 * good + 10 * bad) / 40 == 1
    assert kto_weights(5, 0) == kto_weights(0, 5) == (1.0, 1.0)
