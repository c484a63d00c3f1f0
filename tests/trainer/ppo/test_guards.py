"""The guards against over-optimisation: by hand, and firing in runs of tiny models. KL, entropy and roll-back: test_ppo.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.tiny import ppo_folder, simple_policy
from trainer.contract.config import PPOConfig
from trainer.contract.folder import Refused, read_jsonl
from trainer.lm.backbone import Backbone
from trainer.lm.generate import Generated
from trainer.ppo import rollout as rollout_module
from trainer.ppo.evaluate_rollout import evaluate
from trainer.ppo.guards import Judgement, LengthPrice, plain, restored
from trainer.ppo.reward import Ids, Rule
from trainer.ppo.rollout import Prompt, Rollout, Trajectory
from trainer.ppo.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = [Prompt(index, [5, 6, 7 + index % 4]) for index in range(12)]
END = 2
Score = Callable[[Ids, Ids], Tensor]
SMALL: dict[str, Any] = {
    "updates": 24,
    "episodes": 64,
    "minibatches": 2,
    "microbatch": 64,
    "max_new_tokens": 16,
    "learning_rate": 0.004,
    "beta": 0.0,
    "adaptive_kl": False,
    "kl_stop_nats": 1e6,
    "entropy_floor_nats": -1.0,
    "early_stop_kl_nats": 10.0,
    "length_control": "off",
}


def talker() -> Backbone:
    """A policy that ends an answer after seven tokens or so, of the sixteen it may write."""
    backbone = simple_policy(vocab=20, eos=END)
    with torch.no_grad():
        backbone.plain.head.bias[END] += 1.2
    return backbone


def learn(path: Path, backbone: Backbone, score: Score, judge: Score | None = None, **config: Any) -> dict[str, Any]:
    folder = ppo_folder(path, **(SMALL | config))
    assert isinstance(folder.config, PPOConfig)
    return train(folder, folder.config, backbone, Rule(score, judge), PROMPTS, [])


def metric(path: Path, name: str) -> list[float]:
    return [row[name] for row in read_jsonl(path / "metrics.jsonl")]


def evens(answers: Ids) -> Tensor:
    return torch.tensor([sum(token % 2 == 0 for token in given) / len(given) for given in answers])


def rollout(scores: list[float], judged: list[float] | None, length: int = 3) -> Trajectory:
    blank, mask = torch.zeros(len(scores), length), torch.ones(len(scores), length, dtype=torch.bool)
    own = torch.tensor(scores)
    return Trajectory(blank, blank, blank, blank, blank, own, mask, torch.tensor(judged) if judged else None, own)


# Length


def test_the_price_of_length_by_hand() -> None:
    length, alike = LengthPrice(band=0.2), torch.ones(2)  # earnings that say nothing of length
    length.begin(torch.tensor([30, 50]))
    length.look(torch.tensor([40, 40]), alike)
    assert (length.start, length.ratio, length.price) == (40.0, 1.0, 0.0)
    length.look(torch.tensor([24, 40]), alike)  # a mean of 32: .8, where .909 would be free
    beyond = math.log(1 / 0.8) - math.log(1.1)
    assert length.price == pytest.approx(-(10 + 2) * beyond)
    torch.testing.assert_close(length.cost(torch.tensor([24, 40])), torch.tensor([8, -8]) / 40 * 12 * beyond)
    assert length.taken == pytest.approx(8 / 40 * 12 * beyond)
    length.look(torch.tensor([40, 40]), alike)  # back: what was kept fades, and never pushes the other way
    assert length.price == pytest.approx(-2 * (beyond - math.log(1.1)))
    length.look(torch.tensor([40, 40]), alike)
    assert length.price == 0.0
    length.look(torch.tensor([50, 50]), alike)
    assert length.price == pytest.approx((10 + 2) * math.log(1.25 / 1.1))


def test_a_length_that_crosses_over_is_held_by_two_multipliers_each_fading_by_itself() -> None:
    length, free = LengthPrice(band=0.2), math.log(1.1)
    length.begin(torch.tensor([100]))
    kept = []
    for tokens in (160, 160, 70, 70):
        length.look(torch.tensor([tokens]), torch.ones(1))
        kept.append((length.kept_long, length.kept_short))
    long, short = math.log(1.6) - free, math.log(1 / 0.7) - free
    assert kept[:2] == [pytest.approx((2 * long, 0.0)), pytest.approx((4 * long, 0.0))]
    back = 2 * (math.log(0.7) - free)  # by which the first fades at 70 tokens
    assert kept[2:] == [pytest.approx((4 * long + back, 2 * short)), pytest.approx((max(0.0, 4 * long + 2 * back), 4 * short))]
    assert length.price == pytest.approx(-10 * short + length.kept_long - length.kept_short)


def test_a_price_takes_out_of_scores_how_they_lean_on_length_from_the_first_rollout_on() -> None:
    length, lengths, scores = LengthPrice(band=0.2), torch.tensor([20, 60, 30, 50]), torch.tensor([0.0, 1.0, 0.5, 0.1])
    length.begin(torch.tensor([40]))
    length.look(lengths, scores)
    left = scores - length.cost(lengths)
    assert length.price == pytest.approx(40 * 16 / 1000)  # covariance over variance, times the mean length
    assert float(((lengths - 40) * left).sum()) == pytest.approx(0, abs=1e-5)

    length.look(torch.tensor([20, 60]), torch.tensor([1.0, 0.0]))  # the other way: what was said before counts four fifths
    assert length.price == pytest.approx(40 * (0.8 * 16 - 20) / (0.8 * 1000 + 800))


def test_a_mean_length_that_chance_may_have_made_is_not_outside() -> None:
    for before, count, outside in ((4, 400, 0), (400, 4, 0), (400, 400, 1)):
        length = LengthPrice(band=0.2)
        length.begin(torch.tensor([20, 60] * (before // 2)))  # 40, give or take 20 / sqrt(before)
        length.look(torch.tensor([14, 42] * (count // 2)), torch.ones(count))  # .7
        assert length.outside == outside


def test_a_price_has_its_limit_and_none_is_asked_where_length_is_free() -> None:
    bound, free = LengthPrice(band=0.2), LengthPrice(band=None)
    bound.begin(torch.tensor([100]))  # where it is free the first rollout tells
    for length in (bound, free):
        for mean in (100, *[1] * 9):
            length.look(torch.tensor([mean]), torch.ones(1))
    assert (bound.price, bound.outside) == (-20.0, 9)
    assert (free.price, free.outside, free.ratio) == (0.0, 0, 0.01)
    assert free.failed(last=True) is None


def test_a_guards_memory_is_restored_also_from_an_earlier_version() -> None:
    length = LengthPrice(band=0.2)
    length.begin(torch.tensor([30, 50]))
    length.look(torch.tensor([24, 40]), torch.tensor([0.0, 1.0]))
    assert restored(LengthPrice, plain(length)) == length

    of_old: dict[str, Any] = {
        "band": 0.2,
        "start": 40.0,
        "start_error": 0.1,
        "start_kl": 0.0,
        "unmoved": 1,
        "moved": True,
        "ratio": 1.3,
        "kept": 2.0,
    }
    old = restored(LengthPrice, of_old | {"outside": 2})
    old.look(torch.tensor([20, 60]), torch.tensor([0.0, 1.0]))
    assert (old.start, old.price, old.outside) == (40.0, 1.0, 0)


def test_what_is_held_is_the_length_of_four_rollouts_answers_and_the_first_update_pays_for_the_lean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def a_point_a_token(_prompts: Ids, answers: Ids) -> Tensor:
        return torch.tensor([float(len(given)) for given in answers])

    asked: list[int] = []

    def write_answers(*given: Any) -> list[Generated]:
        asked.append(len(given[2]))
        return written(*given)

    written = rollout_module.write_answers
    monkeypatch.setattr("trainer.ppo.run.write_answers", write_answers)
    held = learn(tmp_path, talker(), a_point_a_token, length_control="penalty", updates=1, max_new_tokens=12)
    assert asked == [4 * SMALL["episodes"], SMALL["episodes"], SMALL["episodes"]]
    row = next(read_jsonl(tmp_path / "metrics.jsonl"))
    assert held["length_before"] != row["rollout/length"]
    assert row["rollout/length_ratio"] == pytest.approx(row["rollout/length"] / held["length_before"])
    drift = (10 + 2) * max(0.0, abs(math.log(row["rollout/length_ratio"])) - math.log(1.1))
    slope = held["length_before"]  # a point a token, for as many
    assert row["rollout/length_price"] == pytest.approx(slope + math.copysign(drift, row["rollout/length_ratio"] - 1))


def test_the_price_looks_at_what_answers_earn_beyond_v_of_their_first_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[Rollout] = []
    looked: list[Tensor] = []
    look = LengthPrice.look

    def evaluating(*given: Any) -> Rollout:
        evaluated.append(evaluate(*given))
        return evaluated[-1]

    def looking(price: LengthPrice, lengths: Tensor, earned: Tensor) -> None:
        looked.append(earned)
        look(price, lengths, earned)

    monkeypatch.setattr("trainer.ppo.run.evaluate", evaluating)
    monkeypatch.setattr(LengthPrice, "look", looking)
    learn(tmp_path, talker(), likes_short, length_control="penalty", updates=2, beta=0.1)
    measured = [rollout.measured for rollout in evaluated]
    for one, earned in zip(measured, looked, strict=True):
        kl = (one.logprobs - one.ref_logprobs).sum(1)  # both are 0 outside the mask
        torch.testing.assert_close(earned, one.scores - 0.1 * kl - one.values[:, 0])
    assert float((measured[-1].logprobs - measured[-1].ref_logprobs).abs().sum()) > 0
    assert float(measured[-1].values[:, 0].abs().mean()) > 0


def test_a_policy_whose_numbers_are_not_finite_is_refused_while_its_length_is_measured(tmp_path: Path) -> None:
    broken = talker()
    with torch.no_grad():
        next(iter(broken.model.parameters())).fill_(float("nan"))
    with pytest.raises(Refused, match="cannot be trained"):
        learn(tmp_path, broken, likes_short, length_control="penalty")


def likes_short(_prompts: Ids, answers: Ids) -> Tensor:
    """Even tokens, and a bias to the short that nobody asked for; about 1 of deviation, as of every score."""
    return 4 * evens(answers) - torch.tensor([len(given) / 4 for given in answers])


def test_the_penalty_holds_the_length_that_the_reward_would_halve(tmp_path: Path) -> None:
    few: dict[str, Any] = {"updates": 12, "max_new_tokens": 12, "learning_rate": 0.006}
    free = learn(tmp_path / "off", talker(), likes_short, **few)
    held = learn(tmp_path / "penalty", talker(), likes_short, length_control="penalty", **few)
    assert free["length"] < 0.6 * free["length_before"]
    assert free["reason"]["code"] == "all_updates_done"
    assert held["reason"]["code"] == "all_updates_done_at_a_price"
    assert metric(tmp_path / "off", "rollout/length_price") == [0.0] * 13
    assert 0.8 <= held["length"] / held["length_before"] <= 1.2
    assert min(metric(tmp_path / "penalty", "rollout/length_price")) < -1
    likes_even = [row["rollout/score"] + row["rollout/length"] / 4 for row in read_jsonl(tmp_path / "penalty" / "metrics.jsonl")]
    assert likes_even[-1] > likes_even[0] + 0.2  # what was asked for is learned all the same


def test_a_length_that_no_price_holds_ends_the_run_with_the_last_policy_that_kept_it(tmp_path: Path) -> None:
    def craves_short(_prompts: Ids, answers: Ids) -> Tensor:
        return -100 * torch.tensor([float(len(given)) for given in answers])

    held = learn(tmp_path, talker(), craves_short, length_control="penalty", updates=40, learning_rate=0.01)
    ratios = metric(tmp_path, "rollout/length_ratio")
    assert held["reason"]["code"] == "length_got_away"
    assert ratios[held["updates"]] > 0.6 >= ratios[-1]  # inside, within the doubt that 64 answers leave
    assert len(ratios) < 41
    assert all(ratio < 0.7 for ratio in ratios[-5:])
    assert held["updates"] == len(ratios) - 6


# Judge


def test_a_judge_that_falls_while_the_score_rises_ends_the_run() -> None:
    judgement, weights = Judgement(), {"w": torch.zeros(1)}
    said = []
    for update, (score, judged) in enumerate([(0, 0.0), (1, 1.0), (2, 1.2), (3, -0.5), (4, -0.5)]):
        weights["w"].fill_(update)
        spread = [-0.1, 0.1]
        said.append(
            judgement.look(update, rollout([score + d for d in spread] * 8, [judged + d for d in spread] * 8), weights, window=2)
        )
    assert said[:4] == [None] * 4  # at update 3 the judge has fallen, but the windows (1, 2) and (2, 3) share a rollout
    assert said[4] is not None
    assert said[4].code == "judge_parted"
    assert dict(said[4].arguments) == pytest.approx({"update": 2, "score": 1.5, "risen": 3.5, "judged": 1.1, "fallen": -0.5})
    assert judgement.best is not None
    assert judgement.best["policy"]["w"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("score", "judged", "spread", "window"),
    [
        (4.0, -0.5, 3.0, 2),  # the fall is inside the noise
        (0.0, -0.5, 0.1, 2),  # the score fell too: nothing was over-optimised
        (4.0, -0.5, 0.1, 0),  # switched off
        (4.0, None, 0.1, 2),  # nobody judges
    ],
)
def test_a_judge_ends_nothing_without_cause(score: float, judged: float | None, spread: float, window: int) -> None:
    judgement = Judgement()
    for update, (own, theirs) in enumerate([(1.0, 1.0)] * 2 + [(score, judged)] * 4):
        ends = [-spread, spread] * 8
        verdicts = None if judged is None or theirs is None else [theirs + d for d in ends]
        assert judgement.look(update, rollout([own + d for d in ends], verdicts), {}, window) is None


def test_the_judge_is_set_against_overall_verdicts_not_against_what_criteria_or_length_add() -> None:
    judgement = Judgement()
    for update in range(6):
        ends = [-0.1, 0.1] * 8
        given = rollout([update + d for d in ends], [-update + d for d in ends])
        given = given._replace(overall=torch.tensor([-update + d for d in ends]))
        assert judgement.look(update, given, {}, window=2) is None


def test_a_run_ends_when_the_judge_turns_away_and_keeps_the_policy_it_liked(tmp_path: Path) -> None:
    """The proxy is blind to repetition, which the judge hates; nothing else would end the run."""

    def proxy(_prompts: Ids, answers: Ids) -> Tensor:
        return 4 * evens(answers)

    def judge(_prompts: Ids, answers: Ids) -> Tensor:
        return 4 * evens(answers) - torch.tensor([8 * (1 - len(set(given)) / len(given)) for given in answers])

    figures = learn(
        tmp_path, simple_policy(vocab=40, eos=None), proxy, judge, updates=40, learning_rate=0.03, max_new_tokens=6, episodes=64
    )
    judged = metric(tmp_path, "rollout/judged")
    assert figures["reason"]["code"] == "judge_parted"
    assert figures["updates"] + 3 <= len(judged) - 1 < 40
    assert figures["judged"] == judged[figures["updates"]] > judged[-1] + 0.3
    assert metric(tmp_path, "rollout/score")[-1] > figures["score"]
