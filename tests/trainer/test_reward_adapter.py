from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer import reading
from trainer.backbone import Backbone, attach_lora, trainable_parameters
from trainer.config import RewardConfig
from trainer.data import Comparison, TokenSequence
from trainer.loading import load_backbone
from trainer.reward_adapter import end_rewards, end_states, start


def answers() -> list[TokenSequence]:
    """Of very different lengths, in no order."""
    draw = torch.Generator().manual_seed(0)
    lengths = [3, 40, 1, 17, 29, 2, 11]
    return [TokenSequence([0, 40, 41], torch.randint(3, 250, (length,), generator=draw).tolist()) for length in lengths]


def head_of(backbone: Backbone) -> Tensor:
    return torch.linspace(-1, 1, backbone.plain.config.hidden_size)


def rewards_and_gradient(backbone: Backbone, sequences: list[TokenSequence]) -> tuple[Tensor, list[Tensor]]:
    trained = trainable_parameters(backbone)
    rewards = end_rewards(backbone, head_of(backbone), sequences)
    weighed = (rewards * torch.arange(1.0, len(rewards) + 1)).sum()
    return rewards.detach(), list(torch.autograd.grad(weighed, trained, materialize_grads=True))


@pytest.mark.parametrize("model", ["llama_folder", "simple_lm_folder"])
def test_how_answers_are_grouped_into_passes_changes_neither_rewards_nor_gradients(
    model: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Path = request.getfixturevalue(model)
    backbone = load_backbone(str(folder))
    attach_lora(backbone, rank=4, layers=1, seed=0)
    torch.manual_seed(1)
    for parameter in trainable_parameters(backbone):
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    found = {}
    for tokens in (1, 64, 10_000):  # each answer alone, some together, all together
        monkeypatch.setattr(reading, "BATCH_TOKENS", tokens)
        found[tokens] = rewards_and_gradient(backbone, answers())
    whole, gradient = found.pop(10_000)
    with torch.no_grad():
        each = torch.cat([end_states(backbone, [answer]) for answer in answers()]) @ head_of(backbone)
    assert each.std() > 0.1
    torch.testing.assert_close(whole, each, rtol=1e-4, atol=1e-4)  # each in its place
    for rewards, parts in found.values():
        torch.testing.assert_close(rewards, whole, rtol=1e-4, atol=1e-4)
        for part, all_of_it in zip(parts, gradient, strict=True):
            torch.testing.assert_close(part, all_of_it, rtol=1e-3, atol=1e-3)


def test_the_head_begins_where_the_labels_put_it_on_the_frozen_base(llama_folder: Path) -> None:
    """Planted verdicts, linear in the end states: the start orders unseen answers so, and rewards average 0 over its own."""
    backbone = load_backbone(str(llama_folder))
    draw = torch.Generator().manual_seed(2)
    sequences = [TokenSequence([0, 40], torch.randint(3, 250, (8,), generator=draw).tolist()) for _ in range(240)]
    with torch.no_grad():
        states = torch.cat([end_states(backbone, [one]) for one in sequences])
    planted = states @ torch.randn(states.shape[1], generator=draw)
    pairs = [(left, left + 1) for left in range(0, len(sequences), 2)]
    verdicts = [
        Comparison(left, right, "left" if planted[left] > planted[right] else "right", None, "somebody", str(left))
        for left, right in pairs
    ]

    head = start(backbone, sequences, verdicts[:80], [], RewardConfig())

    rewards = states @ head
    asked = [planted[left] > planted[right] for left, right in pairs[80:]]
    said = [rewards[left] > rewards[right] for left, right in pairs[80:]]
    assert sum(map(bool.__eq__, map(bool, asked), map(bool, said))) / len(asked) > 0.75
    assert abs(float(rewards[:160].mean())) < 0.02 * float(rewards.std())
