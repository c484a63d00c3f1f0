"""The order of examples, the steps that are looked at, the rate, and what is kept of what was seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.tiny import llama_policy
from trainer.contract.config import PreferenceConfig
from trainer.preference.learner import Learner
from trainer.preference.look import Look
from trainer.preference.objectives import Said


def learner(**config: int | float) -> Learner:
    return Learner(llama_policy(), PreferenceConfig(**({"batch_size": 4, "epochs": 2} | config)), 10)  # type: ignore[arg-type]


def a_look(loss: float | None, kl: float = 1.0) -> Look:
    held_out = None if loss is None else Said(loss, 0.5, 0.1, -0.1)
    return Look(held_out, kl, 5.0, 0.0, 1.0, -2.0, [], [])


def test_each_epoch_has_every_example_once_in_an_order_of_its_own() -> None:
    here = learner()
    epochs = []
    for _ in range(2):
        batches = []
        for _ in range(3):
            batches.append(here.batch())
            here.take_step(0.0, {})
        assert [len(batch) for batch in batches] == [4, 3, 3]
        epochs.append([at for batch in batches for at in batch])
        assert sorted(epochs[-1]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert here.step == here.total == 6


def test_it_is_looked_at_before_the_first_and_after_the_last_step_and_evenly_between() -> None:
    assert learner(looks=3).looks == {0, 2, 4, 6}
    assert learner(looks=1).looks == {0, 6}
    assert learner(looks=100).looks == set(range(7))


def test_the_rate_falls_to_nothing_and_a_step_says_what_it_took() -> None:
    here = learner(learning_rate=0.6)
    rates = []
    for _ in range(6):
        rates.append(here.learning_rate)
        here.take_step(0.0, {"preference/loss": 0.5})
        assert here.unsaid == {"preference/loss": 0.5, "losses/grad_norm": 0.0, "charts/learning_rate": rates[-1]}
    assert rates == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_a_step_that_is_not_finite_moves_nothing_and_three_in_a_row_end_it() -> None:
    here = learner()
    before = {name: parameter.detach().clone() for name, parameter in here.policy.items()}
    for _ in range(2):
        for parameter in here.policy.values():
            parameter.grad = torch.full_like(parameter, float("inf"))
        here.take_step(0.5, {})
    assert not here.broke
    here.take_step(float("nan"), {})
    assert here.broke
    assert all(torch.equal(before[name], parameter) for name, parameter in here.policy.items())
    here.take_step(0.5, {})
    assert not here.broke


def test_the_look_with_the_lowest_loss_inside_the_fence_is_kept() -> None:
    here = learner(kl_stop_nats=9.0)
    for step, (loss, kl) in enumerate([(0.69, 0.0), (0.5, 4.0), (0.6, 6.0), (0.4, 10.0)]):
        here.step = step
        here.note(a_look(loss, kl))
    assert here.best is not None
    assert here.best.step == 1
    assert here.before["heldout/loss"] == 0.69


def test_where_nothing_is_held_out_the_last_look_is_kept() -> None:
    here = learner()
    for step in range(3):
        here.step = step
        here.note(a_look(None))
    assert here.best is not None
    assert here.best.step == 2


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    here, again = learner(), learner()
    assert not again.resume(tmp_path)
    here.note(a_look(0.69))
    for parameter in here.policy.values():
        parameter.grad = torch.ones_like(parameter)
    here.take_step(0.5, {"preference/loss": 0.5})
    here.save(tmp_path)
    assert again.resume(tmp_path)
    assert (again.step, again.unsaid, again.before, again.bad_steps) == (here.step, here.unsaid, here.before, here.bad_steps)
    assert all(torch.equal(here.policy[name], parameter) for name, parameter in again.policy.items())
    assert again.best is not None
    assert here.best is not None
    assert (again.best.step, again.best.metrics) == (here.best.step, here.best.metrics)
    for one in (here, again):
        for parameter in one.policy.values():
            parameter.grad = torch.ones_like(parameter)
        one.take_step(0.5, {})
    assert all(torch.equal(here.policy[name], parameter) for name, parameter in again.policy.items())
