"""Whether answers can be read: figures by hand, and under a tiny Llama."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from tests.trainer.tiny import llama_policy, simple_policy
from trainer.contract.config import PPOConfig
from trainer.lm.backbone import Backbone, bare_base, named_trainable
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.generate import Generated
from trainer.lm.slices import Budget
from trainer.ppo.evaluate_rollout import evaluate
from trainer.ppo.learner import Learner
from trainer.ppo.readability import own_tokens, readability, relevance, repeated
from trainer.ppo.reward import Rule
from trainer.ppo.rollout import Prompt, Rollout

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = PPOConfig(episodes=4, minibatches=2, microbatch=2, max_new_tokens=6)
ANSWERS = [[7, 8, 7, 8, 7, 8], [9, 10, 2], [11, 2], [2], [12, 13, 14, 2], [15, 15, 15, 15, 15, 15], [16, 2]]


def looked_at() -> tuple[Learner, Rollout]:
    """Four answers to learn from and three to held-out prompts, by a policy that has moved."""
    backbone = llama_policy()
    learner = Learner(backbone, CONFIG, 7)
    with torch.no_grad():
        for _, parameter in named_trainable(backbone):
            parameter.add_(0.1)
    asked = [Prompt(index, [5, 20 + index, 6]) for index in range(7)]
    answers = [Generated(ids, "eos" if ids[-1] == 2 else "length") for ids in ANSWERS]
    reward = Rule(lambda prompts, given: torch.zeros(len(given)))
    found = evaluate(learner, CONFIG, reward, asked, answers, None, lambda: None)
    return learner, Rollout(found.asked, found.answers, found.packed, found.plan, found.measured, 4, panel=1, held_out=3)


def test_only_answers_to_held_out_prompts_are_looked_at() -> None:
    learner, rollout = looked_at()
    read = readability(learner.backbone, rollout, Budget(2, 2048), lambda: None)
    assert read.repetition.tolist() == pytest.approx([0, 2 / 3, 0])
    assert read.cut.tolist() == [0, 1, 0]
    assert read.words == {12: 1, 13: 1, 14: 1, 15: 6, 16: 1}  # an end is no word
    with torch.no_grad(), bare_base(learner.backbone):
        alone = response_logprobs(learner.backbone, pack([[5, 25, 6]], [ANSWERS[5]]), CONFIG.temperature).logprobs
    assert float(read.fluency[1]) == pytest.approx(float(alone.mean()), abs=1e-5)


def test_relevance_is_what_an_answer_says_of_its_own_prompt_and_no_other_does() -> None:
    backbone = llama_policy()
    prompts, answers = [[5, 20, 6], [5, 21, 22, 6], [5, 23, 6]], [[7, 8], [9], [10, 11, 12]]
    found = relevance(backbone, prompts, answers, Budget(2, 2048), lambda: None)

    def nats(before: list[int], text: list[int]) -> float:
        with torch.no_grad():
            return float(response_logprobs(backbone, pack([before], [text]), 1.0).logprobs.sum())

    expected = [
        nats([7, 8], [20]) - nats([9], [20]),
        (nats([9], [21, 22]) - nats([10, 11, 12], [21, 22])) / 2,
        nats([10, 11, 12], [23]) - nats([7, 8], [23]),
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    same = relevance(backbone, prompts, [[7, 8]] * 3, Budget(2, 2048), lambda: None)
    assert same.tolist() == pytest.approx([0, 0, 0], abs=1e-5)  # what says the same of all says nothing of any


@pytest.mark.parametrize("make", [llama_policy, partial(simple_policy, 64, 2)], ids=["layer by layer", "whole"])
def test_what_several_prompts_follow_is_read_once_and_says_the_same(make: Callable[[], Backbone]) -> None:
    """Answers long enough to be a branch of a tree with their two prompts as leaves; a model without one reads rows."""
    backbone = make()
    prompts = [[5, *range(20, 20 + count), 6] for count in (1, 4, 2, 7)]
    answers = [list(range(7, 7 + count)) for count in (9, 12, 1, 20)]
    found = relevance(backbone, prompts, answers, Budget(3, 48), lambda: None)

    own = own_tokens(prompts)
    with torch.no_grad(), bare_base(backbone):
        nats = [
            [float(response_logprobs(backbone, pack([before], [text]), 1.0).logprobs.sum()) for before in (answer, other)]
            for answer, other, text in zip(answers, [*answers[1:], answers[0]], own, strict=True)
        ]
    expected = [(mine - others) / len(text) for (mine, others), text in zip(nats, own, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_what_all_prompts_share_is_not_their_own() -> None:
    assert own_tokens([[1, 2, 3, 9, 8], [1, 2, 4, 5, 9, 8]]) == [[3], [4, 5]]
    assert own_tokens([[1, 9], [1, 3, 9]]) == [[9], [3]]  # at least one
    assert own_tokens([[1, 2], [1, 2]]) == [[1, 2], [1, 2]]


def test_passages_said_again() -> None:
    assert repeated([1, 2, 3, 1, 2, 3, 1], 2) == 3 / 6  # 12 23 31, and each again
    assert repeated([1, 2, 3], 2) == 0
    assert repeated([1], 2) == 0
