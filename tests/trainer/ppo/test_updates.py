"""The PPO loop on tiny models: what it measures, how it steps, how it guards itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.ppo.ppo_runs import PANEL, POLICIES, PROMPTS, SMALL, even_share, learn, move_adapters, move_value_head
from tests.trainer.tiny import llama_policy, ppo_folder, simple_policy
from trainer.contract.config import PPOConfig
from trainer.contract.folder import Cancelled, Refused, read_jsonl
from trainer.contract.messages import Message
from trainer.lm.backbone import Backbone, named_trainable, reference
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.generate import Generated
from trainer.ppo.evaluate_rollout import evaluate
from trainer.ppo.learner import Learner
from trainer.ppo.report import distinct, result
from trainer.ppo.reward import Ids, PlainVerdicts, Rule
from trainer.ppo.rollout import write_answers
from trainer.ppo.run import optimise, train

pytestmark = pytest.mark.usefixtures("one_thread")

Step = tuple[dict[str, float], list[Tensor]]


def rows(path: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return list(read_jsonl(path / name))


@pytest.mark.parametrize("kind", ["llama", "simple", "llama in bfloat16"])
def test_the_first_minibatch_has_ratio_one_and_starts_at_the_reference(tmp_path: Path, kind: str) -> None:
    policy = llama_policy(dtype=torch.bfloat16) if kind == "llama in bfloat16" else POLICIES[kind]()
    learn(tmp_path, policy, epochs=1, minibatches=1, updates=3, temperature=0.7)
    steps = rows(tmp_path)
    rounding = 1e-6 if kind == "simple" else 0.0  # torch runs an LSTM by other code when it needs no gradient
    for step in steps[:3]:  # also after the adapters have moved: old log-probabilities come from the same code, rounding included
        assert step["losses/approx_kl"] == pytest.approx(0, abs=rounding**2)
        assert step["losses/clipfrac"] == 0
        assert step["losses/max_ratio"] == pytest.approx(1, abs=rounding)
    assert steps[0]["kl/nats_per_answer"] == pytest.approx(0, abs=1e-5)
    assert steps[0]["kl/exact_nats_per_answer"] == pytest.approx(0, abs=1e-5)
    assert steps[2]["kl/exact_nats_per_answer"] > 1e-4


def test_temperature_divides_the_logits_of_every_log_probability(tmp_path: Path) -> None:
    backbone = llama_policy()
    config = PPOConfig(**(SMALL | {"temperature": 0.7}))
    learner = Learner(backbone, config, len(PROMPTS))
    move_adapters(backbone)
    answers = write_answers(backbone, config, PROMPTS[:8], learner.sampling, None, lambda: None)
    found = evaluate(learner, config, Rule(even_share), PROMPTS[:8], answers, None, lambda: None).measured
    for index, given in enumerate(answers):
        for logprobs, context in ((found.logprobs, None), (found.ref_logprobs, backbone)):
            with torch.no_grad():
                ids = torch.tensor([PROMPTS[index].ids + given.ids])
                if context is not None:
                    with reference(backbone):
                        logits = backbone.plain(ids).logits
                else:
                    logits = backbone.plain(ids).logits
            log_p = (logits[0, -len(given.ids) - 1 : -1] / 0.7).log_softmax(-1)
            expected = log_p.gather(1, torch.tensor(given.ids)[:, None]).squeeze(1)
            torch.testing.assert_close(logprobs[index, : len(given.ids)], expected, atol=1e-5, rtol=0)
            assert (logprobs[index, len(given.ids) :] == 0).all()
    with torch.no_grad(), reference(backbone):
        log_q = (backbone.plain(torch.tensor([PROMPTS[0].ids])).logits[0, -1] / 0.7).log_softmax(-1)
    with torch.no_grad():
        log_p = (backbone.plain(torch.tensor([PROMPTS[0].ids])).logits[0, -1] / 0.7).log_softmax(-1)
    assert float(found.exact_kl[0, 0]) == pytest.approx(float((log_p.exp() * (log_p - log_q)).sum()), abs=1e-6)
    assert float(found.entropy[0, 0]) == pytest.approx(float(-(log_p.exp() * log_p).sum()), abs=1e-5)


def one_step(backbone: Backbone, *, microbatch: int, after_end: int = 0) -> Step:
    """The figures of one optimiser step on answers of uneven length, and where it leaves the policy."""
    config = PPOConfig(**(SMALL | {"microbatch": microbatch, "epochs": 1, "minibatches": 1}))
    learner = Learner(backbone, config, len(PROMPTS))
    move_adapters(backbone)
    move_value_head(learner)
    lengths = [1, 6, 2, 5, 3, 4, 6, 1]
    answers = [Generated([3 + (row * 7 + at) % 30 for at in range(count)], "eos") for row, count in enumerate(lengths)]
    rollout = evaluate(learner, config, Rule(even_share), PROMPTS[:8], answers, None, lambda: None)
    if after_end:
        packed = rollout.packed
        inside = torch.arange(packed.ids.shape[1]) < (packed.prompt_lengths + packed.response_lengths)[:, None]
        noise = torch.Generator().manual_seed(after_end)
        ids = torch.where(inside, packed.ids, torch.randint(40, packed.ids.shape, generator=noise))
        states = packed.states
        if states is not None:
            states = torch.where(inside[:, :, None], states, torch.randn(states.shape, generator=noise))
        rollout = replace(rollout, packed=replace(packed, ids=ids, states=states))
    advantages = torch.where(rollout.measured.mask, torch.linspace(-2, 2, 48).reshape(8, 6), 0.0)
    figures = optimise(learner, config, rollout, advantages, advantages * 0.3, lambda: None)
    return figures, [parameter.detach().clone() for parameter in learner.parameters]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_micro_batches_change_no_step(policy: Callable[[], Backbone]) -> None:
    whole_figures, whole = one_step(policy(), microbatch=8)
    for size in (1, 3):
        figures, parameters = one_step(policy(), microbatch=size)
        for name in ("losses/policy_loss", "losses/value_loss", "losses/grad_norm"):
            assert figures[name] == pytest.approx(whole_figures[name], rel=1e-4)
        for before, after in zip(whole, parameters, strict=True):
            torch.testing.assert_close(after, before, atol=2e-4, rtol=0)  # a step is .01 long


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_what_stands_after_the_end_of_an_answer_changes_no_step(policy: Callable[[], Backbone]) -> None:
    clean_figures, clean = one_step(policy(), microbatch=3)
    for seed in (1, 2):
        figures, parameters = one_step(policy(), microbatch=3, after_end=seed)
        assert figures == clean_figures
        assert all(torch.equal(before, after) for before, after in zip(clean, parameters, strict=True))


def test_an_answer_without_end_pays_down_to_the_fixed_score_only_when_truncation_is_penalised() -> None:
    answers = [Generated([4, 2], "eos"), Generated([4, 4], "length")]
    for penalise, expected in ((True, [1.0, -1.5]), (False, [1.0, 1.0])):
        config = PPOConfig(penalise_truncation=penalise, truncated_score=-1.5, episodes=2, minibatches=1)
        learner = Learner(llama_policy(), config, len(PROMPTS))
        rollout = evaluate(learner, config, Rule(even_share), PROMPTS[:2], answers, None, lambda: None)
        assert rollout.measured.paid_scores.tolist() == expected
        assert rollout.measured.scores.tolist() == [1.0, 1.0]


def test_no_answer_gains_by_having_no_end() -> None:
    answers = [Generated([4, 2], "eos"), Generated([4, 4], "length"), Generated([4, 4], "length"), Generated([2], "eos")]
    scores = torch.tensor([-3.0, -3.0, 2.0, 2.0])
    config = PPOConfig(penalise_truncation=True, truncated_score=-1.0, episodes=4, minibatches=1)
    learner = Learner(llama_policy(), config, len(PROMPTS))
    rollout = evaluate(learner, config, Rule(lambda _prompts, _answers: scores), PROMPTS[:4], answers, None, lambda: None)
    assert rollout.measured.paid_scores.tolist() == [-3.0, -3.0, -1.0, 2.0]


def test_what_cut_answers_pay_adds_up_with_the_price_on_length_and_is_not_bought_back() -> None:
    """Scores say nothing of length, and every long answer is cut: without the separation the price would favour the long."""
    answers = [Generated([4] * 8, "length"), Generated([4, 2], "eos")] * 4
    even = Rule(lambda _prompts, given: torch.tensor([0.5, 1.5, 1.5, 0.5] * 2)[: len(given)])
    prices, paid = [], []
    for penalise in (False, True):
        config = PPOConfig(penalise_truncation=penalise, truncated_score=-3.0, episodes=8, minibatches=1, beta=0.0)
        learner = Learner(llama_policy(), config, len(PROMPTS))
        rollout = evaluate(learner, config, even, [PROMPTS[0]] * 8, answers, None, lambda: None)
        own = rollout.trajectory
        own = own._replace(values=torch.zeros_like(own.values))
        learner.guards.length.begin(torch.tensor([5, 5]))
        learner.guards.look(config, 0, own, learner.penalty(own), learner.policy)
        prices.append(learner.guards.length.price)
        paid.append(own.paid_scores - learner.guards.length.cost(own.lengths))
    assert prices[0] == prices[1] == pytest.approx(0.0, abs=1e-6)
    assert (paid[0] - paid[1]).tolist() == pytest.approx([3.5, 0, 4.5, 0] * 2)


def test_a_reward_is_told_which_answers_were_cut() -> None:
    told: list[bool] = []

    class Listening(Rule):
        def verdicts(self, prompt_ids: Ids, response_ids: Ids, cut: Sequence[bool]) -> PlainVerdicts:
            told.extend(cut)
            return super().verdicts(prompt_ids, response_ids, cut)

    answers = [Generated([4, 2], "eos"), Generated([4, 4], "length"), Generated([2], "eos"), Generated([2, 4], "length")]
    config = PPOConfig(episodes=4, minibatches=1, microbatch=3, penalise_truncation=False)
    learner = Learner(llama_policy(), config, len(PROMPTS))
    evaluate(learner, config, Listening(even_share), PROMPTS[:4], answers, None, lambda: None)
    assert told == [False, True, False, True]


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ({"rollout/truncated": 0.10}, {"rollout/truncated": 0.14}, None),
        ({"rollout/truncated": 0.10}, {"rollout/truncated": 0.16}, (0.16, 0.10)),
        ({"rollout/truncated": 0.30}, {"rollout/truncated": 0.10}, None),
        (
            {"rollout/truncated": 0.10, "heldout/truncated": 0.2},
            {"rollout/truncated": 0.10, "heldout/truncated": 0.26},
            (0.26, 0.2),
        ),
        ({"rollout/truncated": 0.10, "heldout/truncated": 0.2}, {"rollout/truncated": 0.9}, (0.9, 0.10)),
    ],
)
def test_a_share_of_cut_answers_that_rose_is_said_in_words(
    tmp_path: Path, first: dict[str, float], last: dict[str, float], said: tuple[float, float] | None
) -> None:
    folder = ppo_folder(tmp_path, **SMALL)
    names = ("rollout/score", "kl/beta", "kl/exact_nats_per_answer", "rollout/length", "rollout/entropy")
    for step, figures in ((0, first), (2, last)):
        folder.append("metrics.jsonl", [dict.fromkeys(names, 0.0) | figures | {"step": step}])
    learner = Learner(llama_policy(), PPOConfig(**SMALL), len(PROMPTS))
    learner.update = 2
    found = result(folder, learner, Message("done"))
    assert (found["truncated_before"], found["truncated"]) == (first["rollout/truncated"], last["rollout/truncated"])
    assert found.get("more_cut", {}).get("arguments") == (
        None
        if said is None
        else {"now": said[0], "was": said[1], "setting": "ppo.max_new_tokens", "choice": "ppo.penalise_truncation"}
    )


def test_every_prompt_is_answered_once_before_any_comes_again() -> None:
    learner = Learner(llama_policy(), PPOConfig(), prompts=10)
    drawn = [index for _ in range(5) for index in learner.next_prompts(4)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_a_prompt_is_asked_as_often_as_set(tmp_path: Path) -> None:
    asked: list[Sequence[int]] = []

    def watch(prompts: Ids, answers: Ids) -> Tensor:
        asked.extend(prompts)
        return even_share(prompts, answers)

    learn(tmp_path, llama_policy(), score=watch, advantage="rloo", answers_per_prompt=4, updates=1)
    assert asked[0:8] == [asked[0]] * 4 + [asked[4]] * 4
    assert asked[0] != asked[4]


def test_the_panel_is_answered_at_every_update_and_never_trained_on(tmp_path: Path) -> None:
    learn(tmp_path, llama_policy())
    samples = rows(tmp_path, "samples.jsonl")
    assert [(row["step"], row["prompt_id"]) for row in samples] == [(step, panel) for step in range(4) for panel in (100, 101)]
    assert all(row["text"] and 0 <= row["score"] <= 1 for row in samples)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3]
    assert all(row["losses/steps"] == 4 for row in rows(tmp_path)[:3])  # 2 epochs of 2 minibatches of the 8 episodes


def test_the_metrics_are_the_vocabulary_of_the_mathematics_page(tmp_path: Path) -> None:
    folder = ppo_folder(tmp_path, **(SMALL | {"updates": 1}))
    assert isinstance(folder.config, PPOConfig)
    train(folder, folder.config, llama_policy(), Rule(even_share, even_share), PROMPTS, PANEL)
    written = {name for row in rows(tmp_path) for name in row if "/" in name}
    page = (Path(__file__).parents[3] / "docs" / "math.md").read_text(encoding="utf-8")
    listed = page.split("## Metrics of a `ppo` run")[1].split("\n## ")[0]
    assert written | {"losses/ptx_loss"} == set(  # which is there with demonstrations alone
        re.findall(r"`((?:rollout|kl|losses|charts|time)/\w+)`", listed)
    )


def test_epochs_end_once_the_policy_has_moved_far_enough(tmp_path: Path) -> None:
    learn(tmp_path, llama_policy(), learning_rate=0.2, epochs=8, early_stop_kl_nats=0.01, updates=1, kl_stop_nats=1e6)
    first = rows(tmp_path)[0]
    assert 1 <= first["losses/steps"] < 16


def test_the_kl_ceiling_ends_the_run_and_keeps_the_policy_before(tmp_path: Path) -> None:
    backbone = llama_policy()
    # At a higher rate the first update may pass the ceiling, and a run that learned nothing is refused.
    figures = learn(tmp_path, backbone, learning_rate=0.02, updates=30, kl_stop_nats=2.0, beta=0.0, adaptive_kl=False)
    assert figures["reason"]["code"] == "kl_past_limit"
    assert figures["updates"] < 30
    assert figures["kl_nats_per_answer"] < 2.0 < rows(tmp_path)[-1]["kl/exact_nats_per_answer"]
    assert rows(tmp_path)[-1]["step"] == figures["updates"] + 1


def test_a_policy_outside_the_bounds_from_the_start_is_refused_and_not_handed_on_as_learned(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"Entropy fell.*began with"):
        learn(tmp_path, llama_policy(), entropy_floor_nats=100.0)


def test_the_entropy_floor_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    figures = learn(
        tmp_path,
        llama_policy(),
        learning_rate=0.05,
        updates=60,
        adaptive_kl=False,
        beta=0.0,
        entropy_floor_nats=1.5,
        kl_stop_nats=1e6,
    )
    assert figures["reason"]["code"] == "entropy_under_floor"
    assert figures["entropy"] >= 1.5 > rows(tmp_path)[-1]["rollout/entropy"]


class NaNAt:
    """Even-share scores, but not a number at these calls: 4 calls of up to 3 answers make one rollout."""

    def __init__(self, *calls: int) -> None:
        self.calls, self.bad = 0, calls

    def __call__(self, prompts: Ids, answers: Ids) -> Tensor:
        self.calls += 1
        return even_share(prompts, answers) * (float("nan") if self.calls in self.bad else 1)


def test_one_rollout_that_is_not_finite_is_skipped(tmp_path: Path) -> None:
    figures = learn(tmp_path, llama_policy(), score=NaNAt(6))
    assert (figures["updates"], figures["rollbacks"]) == (3, 0)
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2, 3]


def test_three_in_a_row_roll_back_to_the_last_checkpoint_at_half_the_rate(tmp_path: Path) -> None:
    figures = learn(tmp_path, llama_policy(), score=NaNAt(13, 17, 21), updates=6, checkpoint_every=2)
    assert (figures["updates"], figures["rollbacks"]) == (6, 1)
    steps = rows(tmp_path)
    assert [row["step"] for row in steps] == list(range(7))
    assert [row["charts/rollbacks"] for row in steps] == [0, 0, 1, 1, 1, 1, 1]
    assert steps[3]["charts/learning_rate"] == pytest.approx(0.01 * (1 - 3 / 6) / 2)


def test_a_cancel_right_after_a_roll_back_does_not_undo_it(tmp_path: Path) -> None:
    backbone = llama_policy()
    folder = ppo_folder(tmp_path, **(SMALL | {"updates": 6, "checkpoint_every": 2}))
    assert isinstance(folder.config, PPOConfig)
    score = NaNAt(13, 17, 21)

    def cancel_after(prompts: Ids, answers: Ids) -> Tensor:
        if score.calls == 24:  # the first score after the roll-back
            raise Cancelled
        return score(prompts, answers)

    with pytest.raises(Cancelled):
        train(folder, folder.config, backbone, Rule(cancel_after), PROMPTS, PANEL)
    learner = Learner(backbone, folder.config, len(PROMPTS))
    assert learner.resume(folder.file("state"))
    assert (learner.update, learner.rollbacks, learner.rate_scale, learner.bad_steps) == (2, 1, 0.5, 0)


def test_training_that_cannot_stay_finite_is_given_up_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="lower “Learning rate”"):
        learn(tmp_path, llama_policy(), score=NaNAt(*range(1, 100)))


def test_a_step_that_is_not_finite_is_skipped_and_changes_nothing() -> None:
    learner = Learner(llama_policy(), PPOConfig(), prompts=3)
    before = learner.snapshot()
    for parameter in learner.parameters:
        parameter.grad = torch.full_like(parameter, float("nan"))
    learner.step(0.5, 0.1, 1.0)
    for parameter in learner.parameters:
        parameter.grad = torch.ones_like(parameter)
    learner.step(float("inf"), 0.1, 1.0)
    assert learner.bad_steps == 2
    assert all(torch.equal(parameter, before["policy"][name]) for name, parameter in learner.policy.items())
    for parameter in learner.parameters:
        parameter.grad = torch.ones_like(parameter)
    learner.step(0.5, 0.1, 1.0)
    assert learner.bad_steps == 0
    assert not all(torch.equal(parameter, before["policy"][name]) for name, parameter in learner.policy.items())


def test_scores_too_large_to_square_do_not_reach_the_weights(tmp_path: Path) -> None:
    backbone = llama_policy()
    start = {name: parameter.detach().clone() for name, parameter in named_trainable(backbone)}
    with pytest.raises(Refused):
        learn(tmp_path, backbone, score=lambda _p, answers: torch.full((len(answers),), 1e30), updates=2)
    assert all(torch.equal(parameter, start[name]) for name, parameter in named_trainable(backbone))


def test_a_planted_reward_is_learned(tmp_path: Path) -> None:
    figures = learn(tmp_path, simple_policy(vocab=40, eos=2), updates=25, episodes=64, minibatches=2, microbatch=64, beta=0.01)
    assert figures["score_before"] < 0.65
    assert figures["score"] > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_adapters_on_a_llama_learn_a_planted_reward(tmp_path: Path, seed: int) -> None:
    """The path of every real model, over a recorded trunk. Seen: from .43-.61 to .93-1.00; the base alone stays where it is."""
    backbone = llama_policy(seed=seed)
    adapters = {name for name, _ in named_trainable(backbone)}
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    config: dict[str, Any] = {"beta": 0.01, "adaptive_kl": False, "kl_stop_nats": 1e6, "seed": seed}
    figures = learn(tmp_path, backbone, updates=25, episodes=64, minibatches=2, microbatch=64, **config)
    assert figures["score_before"] < 0.65
    assert figures["score"] > 0.88
    moved = {name for name, value in backbone.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == adapters
    assert all("lora_" in name for name in adapters)


def test_the_guard_fires_before_a_hacked_proxy_ruins_the_gold_reward(tmp_path: Path) -> None:
    """Gold likes even tokens but not repetition, to which the proxy is blind (Gao et al. 2022, arXiv:2210.10760)."""

    def gold(answers: list[list[int]]) -> float:
        return sum(float(even_share([], [given])) - 2 * (1 - len(set(given)) / len(given)) for given in answers) / len(answers)

    ends = {}
    for name, ceiling in (("guarded", 4.0), ("unguarded", 1e6)):
        backbone = simple_policy(vocab=40, eos=None)
        config: dict[str, Any] = {"updates": 60, "episodes": 64, "microbatch": 64, "beta": 0.0, "adaptive_kl": False}
        figures = learn(tmp_path / name, backbone, learning_rate=0.03, kl_stop_nats=ceiling, **config)
        learner = Learner(backbone, PPOConfig(**(SMALL | {"seed": 9})), len(PROMPTS))
        answers = write_answers(backbone, PPOConfig(**SMALL), PROMPTS * 10, learner.sampling, None, lambda: None)
        ends[name] = (figures, gold([given.ids for given in answers]))
    assert ends["guarded"][0]["reason"]["code"] == "kl_past_limit"
    assert ends["unguarded"][0]["score"] > ends["guarded"][0]["score"]  # the proxy prefers the hacked policy
    assert ends["unguarded"][1] < ends["guarded"][1] - 0.3  # people would not


def test_distinct_n() -> None:
    assert distinct([[1, 2, 1], [1, 2]], 1) == 2 / 5
    assert distinct([[1, 2, 1], [1, 2]], 2) == 2 / 3
    assert distinct([[1]], 2) == 1


def test_fluency_is_what_the_reference_thinks_of_the_answers(tmp_path: Path) -> None:
    """The base's own answers at temperature 1 cost it its entropy; a policy that went to what it finds unlikely costs more."""
    learn(
        tmp_path, llama_policy(), learning_rate=0.05, updates=12, temperature=1.0, beta=0.0, adaptive_kl=False, kl_stop_nats=1e6
    )
    first, *_, last = rows(tmp_path)
    assert first["rollout/fluency"] == pytest.approx(-first["rollout/entropy"], abs=0.5)
    gap = last["rollout/fluency"] + last["rollout/entropy"]  # E[log q] + H(p) = -KL, per token
    assert gap == pytest.approx(-last["kl/nats_per_token"], abs=0.5)
    assert gap < -0.3


def test_a_cut_answer_is_scored_at_its_last_token_and_packed_without_an_end(tmp_path: Path) -> None:
    seen: list[Sequence[int]] = []

    def watch(prompts: Ids, answers: Ids) -> Tensor:
        seen.extend(answers)
        return even_share(prompts, answers)

    backbone = simple_policy(vocab=40, eos=2)
    with torch.no_grad():
        backbone.plain.head.bias[2] += 2  # end often
    learn(tmp_path, backbone, score=watch, updates=1)
    assert {given[-1] == 2 for given in seen} == {True, False}  # some ended, some were cut, none had an end appended
    assert all(2 not in given[:-1] and len(given) <= 6 for given in seen)
    assert all(len(given) == 6 for given in seen if given[-1] != 2)
    packed = pack([[5]] * len(seen), seen)
    assert packed.mask.sum() == sum(map(len, seen))
    assert response_logprobs(llama_policy(), packed, 1.0).mask.equal(packed.mask)
