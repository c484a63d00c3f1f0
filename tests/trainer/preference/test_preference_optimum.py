"""DPO and KTO against optima that can be written down: the loop that trains language models, on policies of a few answers.

Where answer y is preferred to y' with the odds exp(r(y) - r(y')), DPO's optimum is q(y) exp(r(y) / beta) / Z: the policy that PPO
seeks under the reward r. KTO does not know odds: what most find good wins, and the rest goes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.tiny import simple_policy
from trainer.contract.config import PreferenceConfig
from trainer.contract.folder import RunFolder
from trainer.lm.backbone import Backbone, pin_reference
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.left_out import LeftOut
from trainer.preference.data import Material, Pair, Single, Text
from trainer.preference.look import Asked
from trainer.preference.objectives import DPO, KTO
from trainer.preference.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPT = [0]
EXACT: dict[str, Any] = {
    "batch_size": 1000,  # every example in each step
    "microbatch": 1000,
    "temperature": 1.0,
    "max_new_tokens": 2,
    "looks": 1,
    "look_answers": 4,
    "kl_stop_nats": 100.0,
    "learning_rate": 0.02,
}
ODDS = {0: (1, 1), 1: (3, 1), 2: (9, 1)}  # by how many ones an answer has more than another: r is the ones times log 3


def folder(path: Path, **config: Any) -> RunFolder:
    path.mkdir(parents=True, exist_ok=True)
    (path / "run.json").write_text(json.dumps({"kind": "preference", "config": EXACT | config, "inputs": {}}), encoding="utf-8")
    return RunFolder(path)


def probabilities(backbone: Backbone, answers: Sequence[list[int]]) -> Tensor:
    """(N,) exact probability of each answer."""
    with torch.no_grad():
        return response_logprobs(backbone, pack([PROMPT] * len(answers), answers), 1.0).logprobs.sum(1).exp()


def ones(answer: Sequence[int]) -> int:
    return sum(token == 1 for token in answer)


def compared(answers: Sequence[list[int]]) -> list[Pair]:
    """Comparisons of every two answers, won in their odds."""
    found = []
    for one, other in combinations(range(len(answers)), 2):
        better, worse = sorted((one, other), key=lambda at: -ones(answers[at]))
        wins, losses = ODDS[ones(answers[better]) - ones(answers[worse])]
        found += [Pair(better, worse)] * wins + [Pair(worse, better)] * losses
    return found


def learn(path: Path, backbone: Backbone, answers: Sequence[list[int]], examples: list[Any], **config: Any) -> None:
    run = folder(path, **config)
    assert isinstance(run.config, PreferenceConfig)
    method: Any = KTO if run.config.method == "kto" else DPO
    material: Any = Material([Text(PROMPT, answer) for answer in answers], examples, [], 1)
    train(run, run.config, backbone, material, method, [Asked(1, PROMPT)] * 4, LeftOut())


@pytest.mark.parametrize(("beta", "one"), [(1.0, 0.75), (0.5, 0.9)])
def test_dpo_reaches_the_policy_that_the_odds_imply(tmp_path: Path, beta: float, one: float) -> None:
    """Two tokens of two: r = ones * log 3, so that p(1) is 3 / 4 at beta 1, and 9 / 10 at beta .5."""
    backbone = simple_policy(vocab=2, eos=None, uniform=True)
    answers = [list(answer) for answer in product((0, 1), repeat=2)]
    learn(tmp_path, backbone, answers, compared(answers), beta=beta, epochs=300)
    expected = torch.tensor([one ** ones(answer) * (1 - one) ** (2 - ones(answer)) for answer in answers])
    torch.testing.assert_close(probabilities(backbone, answers), expected, atol=0.004, rtol=0)


def test_dpo_departs_from_a_reference_that_is_not_even(tmp_path: Path) -> None:
    backbone = simple_policy(vocab=2, eos=None, seed=3)
    backbone.plain.head.bias.data += torch.tensor([1.5, 0.0])
    pin_reference(backbone)
    answers = [list(answer) for answer in product((0, 1), repeat=2)]
    before = probabilities(backbone, answers)
    assert before[0] > 0.5
    learn(tmp_path, backbone, answers, compared(answers), beta=1.0, epochs=300)
    expected = before * torch.tensor([3.0 ** ones(answer) for answer in answers])
    torch.testing.assert_close(probabilities(backbone, answers), expected / expected.sum(), atol=0.004, rtol=0)


VARIABLE = [[2], *([a, b] for a in (0, 1) for b in (0, 1, 2))]  # end token 2, two tokens at most: seven answers


@pytest.mark.parametrize("method", ["dpo", "dpo_normalised"])
def test_answers_of_two_lengths_have_the_optimum_of_their_form(tmp_path: Path, method: str) -> None:
    """beta log pi/q, over |y| / mean |y| where it counts by the token, is r + c, and c is what makes probabilities of it."""
    backbone = simple_policy(vocab=3, eos=2, uniform=True)
    pairs = compared(VARIABLE)
    learn(tmp_path, backbone, VARIABLE, pairs, beta=1.0, epochs=400, method=method)
    reference = torch.tensor([3.0 ** -len(answer) for answer in VARIABLE])
    reward = torch.tensor([ones(answer) * math.log(3) for answer in VARIABLE])
    lengths = torch.tensor([float(len(answer)) for answer in VARIABLE])
    unit = lengths[torch.tensor(pairs).flatten()].mean()
    scale = lengths / unit if method == "dpo_normalised" else torch.ones(7)
    expected = reference * (scale * (reward + root(lambda c: float((reference * (scale * (reward + c)).exp()).sum()) - 1))).exp()
    found = probabilities(backbone, VARIABLE)
    torch.testing.assert_close(found, expected, atol=0.006, rtol=0)


def root(rises: Callable[[float], float], low: float = -50.0, high: float = 50.0) -> float:
    """Where a rising function is 0, by halving."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) < 0 else (low, middle)
    return low


def test_kto_ends_with_what_most_find_good(tmp_path: Path) -> None:
    """Three answers of one token: all four people find the first good, three of four the second, nobody the third.

    Where the third has gone, the others share what is left so that g(p) = A sigmoid'(log 3p) / p is the same for both; A, what
    speaks for an answer, is 4 of weight 6/7, and 3 of these less one of 6/5.
    """
    backbone = simple_policy(vocab=3, eos=None, uniform=True)
    said = [(0, True)] * 4 + [(1, True)] * 3 + [(1, False)] + [(2, False)] * 4
    singles = [Single(answer, good, answer) for answer, good in said]
    learn(tmp_path, backbone, [[0], [1], [2]], singles, beta=1.0, epochs=400, method="kto", max_new_tokens=1, learning_rate=0.05)
    found = probabilities(backbone, [[0], [1], [2]])

    def pull(share: float, weight: float) -> float:
        u = math.log(3 * share)
        return weight / (1 + math.exp(-u)) / (1 + math.exp(u)) / share

    gone = float(found[2])
    first = root(lambda p: pull(1 - gone - p, 3 * 6 / 7 - 6 / 5) - pull(p, 4 * 6 / 7), 0.01, 0.99 - gone)
    assert gone < 0.03
    assert float(found[0]) == pytest.approx(first, abs=0.02)
    assert 0.5 < first < 0.8
