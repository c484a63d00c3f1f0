"""Everything that computes, walked on a GPU that is not there: no tensor of the host meets one of the model's, and the numbers
are those of the host.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from tests.trainer.pretended_gpu import OnGPU, PretendedGPU, moved
from tests.trainer.tiny import disturb, llama_policy, ppo_folder, simple_policy
from trainer.contract.config import PPOConfig, PreferenceConfig
from trainer.lm.backbone import Backbone, trainable_parameters
from trainer.lm.decoders.make_decoder import make_decoder
from trainer.lm.forward import pack, with_trunk
from trainer.lm.generate import generate
from trainer.lm.slices import Budget
from trainer.ppo.reward import Rule
from trainer.ppo.rollout import Prompt
from trainer.ppo.run import train
from trainer.preference.data import Pair, Single, Text
from trainer.preference.log_ratios import LogRatios
from trainer.preference.objectives import DPO, KTO
from trainer.reward.adapter import end_states
from trainer.reward.data import TokenSequence
from trainer.reward.features import Pooler, pooled_states
from trainer.serve.writing import Row, write
from trainer.sft.documents import Sequence
from trainer.sft.packing import keeps_apart, loss_sum, mean_loss
from trainer.sft.ptx import Demonstrations

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = [[5, 6, 7], [5, 6, 8, 9], [5, 6, 10]]
ANSWERS = [[11, 12, 2], [13, 3], [14, 15, 16, 17]]
POLICIES = {"llama": llama_policy, "simple": lambda: simple_policy(40, 2)}


def writing(policy: Backbone, _path: Path) -> list[float]:
    draws = torch.Generator().manual_seed(1)
    own = generate(policy, PROMPTS, max_new_tokens=4, temperature=1.0, generator=draws, batch_size=2)
    served: list[int] = []
    rows = [
        Row(ids, 3, 0.7, top_p, 1, served.append, lambda _why, _count: None, lambda: False)
        for ids in PROMPTS
        for top_p in (0.5, 1)
    ]
    for _token in write(make_decoder(policy), rows, {2}):
        pass
    return [*(token for answer in own for token in answer.ids), *served]


def ppo(policy: Backbone, path: Path) -> list[float]:
    folder = ppo_folder(
        path,
        updates=1,
        episodes=4,
        epochs=1,
        minibatches=2,
        microbatch=2,
        max_new_tokens=4,
        entropy_floor_nats=-1.0,
        heldout_every=1,
    )
    rule = Rule(lambda _prompts, answers: torch.tensor([float(sum(token % 2 for token in ids)) for ids in answers]))
    assert isinstance(folder.config, PPOConfig)
    asked = [Prompt(at, [*ids]) for at, ids in enumerate(PROMPTS)]
    figures = train(folder, folder.config, policy, rule, asked, asked[:1], asked)
    return [figures["score"], figures["kl_nats_per_answer"], figures["entropy"]]


def reading_of_rewards(policy: Backbone, _path: Path) -> list[float]:
    texts = [TokenSequence(prompt, answer) for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    layers = [0, 1]
    features = pooled_states(policy, texts, layers)
    packed = pack(PROMPTS, ANSWERS)
    pooler = Pooler(packed, layers, {2})
    with_trunk(policy, packed, lambda layer, states: pooler.visit(layer, states, torch.arange(len(PROMPTS))))
    head = torch.ones(end_states(policy, texts).shape[1])
    (end_states(policy, texts) @ head).sum().backward()  # type: ignore[no-untyped-call]
    return [*map(float, (tensor.sum() for tensor in (*features.values(), *pooler.means.values())))]


def preferences(policy: Backbone, _path: Path) -> list[float]:
    texts = [Text(prompt, answer) for prompt in PROMPTS for answer in ANSWERS[:2]]
    config = PreferenceConfig(microbatch=2)
    pairs, singles = [Pair(0, 1), Pair(3, 2)], [Single(0, True, 3), Single(4, False, 1)]
    ratios = LogRatios(policy, texts, 0.7, Budget(2, 2048), lambda: None, lambda _done: None)
    said = [
        DPO(ratios, config, pairs).ask(pairs, True, lambda: None),
        KTO(ratios, config, singles).ask(singles, True, lambda: None),
    ]
    return [one.loss for one in said]


def next_tokens(policy: Backbone, _path: Path) -> list[float]:
    rows = [[Sequence(prompt + answer, len(prompt))] for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    packed = keeps_apart(policy)
    loss = loss_sum(policy, rows, packed)
    loss.backward()  # type: ignore[no-untyped-call]
    beside = Demonstrations(policy, [one for row in rows for one in row], per_step=2, budget=Budget(2, 2048), seed=0)
    return [float(loss.detach()), mean_loss(policy, rows, packed), beside.learn(0, 1.0, lambda: None)]


WALKS: list[Callable[[Backbone, Path], list[float]]] = [writing, ppo, reading_of_rewards, preferences, next_tokens]


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.__name__)
@pytest.mark.parametrize("kind", POLICIES)
def test_nothing_of_the_host_meets_the_model_on_a_gpu(
    kind: str, walk: Callable[[Backbone, Path], list[float]], tmp_path: Path
) -> None:
    here = POLICIES[kind]()
    disturb(here)
    with PretendedGPU():  # type: ignore[no-untyped-call]
        there = POLICIES[kind]()
        disturb(there)
        found = walk(moved(there), tmp_path / "there")
    assert found == pytest.approx(walk(here, tmp_path / "here"), rel=1e-4, abs=1e-5)
    for own, other in zip(trainable_parameters(here), trainable_parameters(there), strict=True):
        assert isinstance(other.data, OnGPU)
        torch.testing.assert_close(other.data.numbers, own.data, rtol=1e-3, atol=1e-4)
        assert (own.grad is None) == (other.grad is None)


@pytest.mark.parametrize(
    "planted", [lambda there, here: there + here, lambda there, here: here[there.long()]], ids=["sum", "index"]
)
def test_a_tensor_left_on_the_host_is_noticed(planted: Callable[[Tensor, Tensor], Tensor]) -> None:
    with PretendedGPU(), pytest.raises(FakeTensorDeviceMismatchError):  # type: ignore[no-untyped-call]
        planted(OnGPU(torch.zeros(3)), torch.ones(3))
