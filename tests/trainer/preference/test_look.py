"""What a look at a policy tells, against the model's own full distributions."""

from __future__ import annotations

import pytest
import torch

from tests.trainer.tiny import disturb, llama_policy
from trainer.contract.config import PreferenceConfig
from trainer.lm.backbone import Backbone, reference
from trainer.preference.data import Pair
from trainer.preference.look import Asked, Look, look, shown
from trainer.preference.objectives import Objective

ASKED = [Asked(number, [5, 6, *range(7, 8 + number % 4)]) for number in range(7)]
CONFIG = PreferenceConfig(max_new_tokens=6, microbatch=3, look_answers=7)


class NothingHeldOut(Objective[Pair]):
    """Is never asked."""


def seen(backbone: Backbone) -> Look:
    nobody: list[Pair] = []
    return look(backbone, CONFIG, NothingHeldOut(), nobody, ASKED, lambda: None)  # type: ignore[abstract]


@torch.no_grad()
def kl_by_hand(backbone: Backbone, prompt: list[int], answer: list[int]) -> float:
    """The sum over an answer's places of KL(policy || reference) over the whole vocabulary."""

    def log_p() -> torch.Tensor:
        logits = backbone.model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].float() / CONFIG.temperature
        found: torch.Tensor = logits.log_softmax(1)[len(prompt) - 1 : -1]
        return found

    own = log_p()
    with reference(backbone):
        theirs = log_p()
    return float((own.exp() * (own - theirs)).sum())


def test_kl_is_the_exact_one_of_the_answers_it_drew() -> None:
    backbone = llama_policy()
    disturb(backbone)
    found = seen(backbone)
    expected = [kl_by_hand(backbone, prompt.ids, given.ids) for prompt, given in zip(ASKED, found.answers, strict=True)]
    assert found.kl_of_answers == pytest.approx(expected, abs=1e-4)
    assert found.kl_nats == pytest.approx(sum(expected) / 7, abs=1e-4)
    assert found.kl_nats > 0.1
    assert found.length == sum(len(given.ids) for given in found.answers) / 7
    assert found.metrics["rollout/truncated"] == sum(given.finish_reason == "length" for given in found.answers) / 7
    assert "heldout/loss" not in found.metrics


def test_two_looks_at_one_policy_see_the_same() -> None:
    backbone = llama_policy()
    disturb(backbone)
    assert seen(backbone) == seen(backbone)


def test_the_first_answers_are_shown() -> None:
    backbone = llama_policy()
    rows = shown(12, seen(backbone), ASKED, backbone)
    assert [(row["step"], row["prompt_id"]) for row in rows] == [(12, number) for number in range(5)]


def test_a_prompt_that_is_asked_again_is_shown_once_with_its_first_answer() -> None:
    backbone = llama_policy()
    found, again = seen(backbone), [asked._replace(prompt_id=number % 3) for number, asked in enumerate(ASKED)]
    rows = shown(1, found, again, backbone)
    assert [row["prompt_id"] for row in rows] == [0, 1, 2]
    assert [row["kl_nats"] for row in rows] == found.kl_of_answers[:3]


def test_a_policy_whose_numbers_are_not_finite_is_told() -> None:
    backbone = llama_policy()
    backbone.plain.model.norm.weight.data[0] = float("nan")
    with pytest.raises(FloatingPointError):
        seen(backbone)
