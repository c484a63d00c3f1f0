"""Log-ratios against the model's own forward, with and without the trunk's states."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.trainer.tiny import disturb, llama_policy, simple_policy
from trainer.lm import forward
from trainer.lm.backbone import Backbone, pin_reference, reference
from trainer.lm.slices import Budget
from trainer.preference.data import Text
from trainer.preference.log_ratios import LogRatios

POLICIES: dict[str, Callable[[], Backbone]] = {"llama": llama_policy, "simple": lambda: simple_policy(vocab=40, eos=2)}


def texts() -> list[Text]:
    draw = random.Random(1)

    def some(most: int) -> list[int]:
        return [draw.randrange(3, 40) for _ in range(draw.randint(1, most))]

    return [Text([5, 6, *some(4)], some(7)) for _ in range(9)]


def ratios(backbone: Backbone, temperature: float = 0.7, size: int = 4) -> LogRatios:
    return LogRatios(backbone, texts(), temperature, Budget(size, 2048), lambda: None, lambda _: None)


@torch.no_grad()
def by_hand(backbone: Backbone, text: Text, temperature: float) -> float:
    ids = torch.tensor([[*text.prompt_ids, *text.response_ids]])
    logprobs = (backbone.model(input_ids=ids).logits[0].float() / temperature).log_softmax(1)
    start = len(text.prompt_ids)
    return sum(float(logprobs[start + at - 1, token]) for at, token in enumerate(text.response_ids))


@pytest.mark.parametrize("name", POLICIES)
def test_they_are_the_models_own(name: str) -> None:
    backbone = POLICIES[name]()
    found = ratios(backbone)
    disturb(backbone)
    expected = []
    for text in texts():
        own = by_hand(backbone, text, 0.7)
        with reference(backbone):
            expected.append(own - by_hand(backbone, text, 0.7))
    with torch.no_grad():
        got = found.of(torch.arange(9))
    assert max(map(abs, expected)) > 0.5
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_is_its_reference_is_no_likelier(name: str) -> None:
    with torch.no_grad():
        assert ratios(POLICIES[name]()).of(torch.arange(9)).abs().max() < 1e-4


def test_a_pinned_reference_is_the_policy_it_was() -> None:
    backbone = llama_policy()
    disturb(backbone)
    pin_reference(backbone)
    found = ratios(backbone)
    with torch.no_grad():
        assert found.of(torch.arange(9)).abs().max() < 1e-4
        disturb(backbone, seed=2)
        assert found.of(torch.arange(9)).abs().max() > 0.1


def test_recorded_states_change_no_log_ratio_and_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[Tensor, list[Tensor]]] = []
    for most in (2**30, 0):
        monkeypatch.setattr(forward, "MOST_KEPT", most)
        backbone = llama_policy()
        disturb(backbone)
        asked = ratios(backbone)
        assert (asked._texts.kept is None) == (most == 0)
        got = asked.of(torch.tensor([3, 1, 8]))
        got.sum().backward()  # type: ignore[no-untyped-call]
        trained = [parameter.grad for parameter in backbone.model.parameters() if parameter.grad is not None]
        found.append((got.detach(), trained))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_neither_order_nor_company_changes_one() -> None:
    backbone = llama_policy()
    disturb(backbone)
    with torch.no_grad():
        whole = ratios(backbone, size=9).of(torch.arange(9))
        alone = ratios(backbone, size=2)
        for row in range(9):
            torch.testing.assert_close(alone.of(torch.tensor([row]))[0], whole[row], atol=1e-4, rtol=1e-4)


def test_a_reference_whose_numbers_are_not_finite_is_told() -> None:
    backbone = llama_policy()
    backbone.plain.model.norm.weight.data[0] = float("nan")
    with pytest.raises(FloatingPointError):
        ratios(backbone)
