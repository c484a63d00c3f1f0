"""Proximal policy optimisation of a language model against a reward, from top to bottom in the paper's order.

Schulman et al. 2017, arXiv:1707.06347, applied as in Ziegler et al. 2019, arXiv:1909.08593: one answer is one episode, one token
one action, the score comes with the last token, and a KL penalty on every token holds the policy near a reference.
docs/math.md lists symbols, names and metrics. This file knows no database, no labels and no reward model's insides.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig, config_dict
from trainer.contract.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.files.checkpoint import CheckpointError
from trainer.files.metrics import Metrics
from trainer.lm.backbone import Backbone, attach_lora, chat_ids, pin_reference
from trainer.lm.forward import Packed, response_logprobs
from trainer.lm.generate import Generated, Trajectory, generate
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.lm.recorded_states import Recording
from trainer.ppo.advantages import ESTIMATORS, adapted_beta, explained_variance, k1, k3, shaped_rewards, whiten
from trainer.ppo.evaluate_rollout import Plan, Prompt, Score, measure, panel_rows, rollout_metrics, to_record
from trainer.ppo.guards import DEAR, out_of_bounds
from trainer.ppo.learner import Learner, keep
from trainer.ppo.losses import clipped_share, policy_loss, value_loss
from trainer.reward.scorer import Scorer, load_scorer

STAGES = ("time/generate_s", "time/score_s", "time/train_s")
DECODED_TOGETHER = 64
LENGTH_ROLLOUTS = 4
ALL_DONE = "all updates are done"
LENGTH_HELD = (
    ", under a price that kept answers near the length they had: where your labels are about length, set length_control to off"
)
NOTHING_KEPT = ". That is the policy the run began with: nothing was learned that could be kept"
BAD_STEPS_TO_ROLL_BACK, ROLLBACKS_TO_GIVE_UP = 3, 3


def run(folder: RunFolder) -> None:
    """Do a `ppo` run: open policy, reference and reward, train, keep the policy. Inputs: docs/architecture.md.

    Raises Refused or BackboneError with the reason when it cannot be done, Cancelled with resumable state on disk.
    """
    config = cast(PPOConfig, folder.config)
    folder.progress(0, config.updates, "Opening the models")
    backbone = open_policy(folder, config)
    try:
        scorer = load_scorer(folder.resolve(folder.inputs["reward"]), backbone)
    except CheckpointError as error:
        raise Refused(f"The reward model cannot be used: {error}") from error
    prompts = read_prompts(folder, "prompts.jsonl", backbone, config)
    if not prompts:
        raise Refused(f"There is no prompt of at most {config.max_prompt_tokens} tokens to practise on. Import shorter ones.")
    panel = (read_prompts(folder, "panel_prompts.jsonl", backbone, config) or prompts)[: config.panel_prompts]
    figures = train(folder, config, backbone, scorer, prompts, panel)
    save_policy(backbone, folder.file("checkpoint"), run={"kind": "ppo", "config": config_dict(config)}, figures=figures)
    folder.finish("done", **figures)
    shutil.rmtree(folder.file("state"), ignore_errors=True)


def open_policy(folder: RunFolder, config: PPOConfig) -> Backbone:
    """The policy to train: the run's start, or the base with fresh adapters; its reference is what `config.reference` says."""
    start, reward, dtype = folder.inputs.get("start"), folder.inputs.get("reward"), config.dtype
    if dtype == "auto" and reward and Path(folder.resolve(reward), "adapter_config.json").exists():
        dtype = "float32"  # a reward's adapters are merged into the same weights to score, and bfloat16 would swallow them
    if start is None:
        backbone = load_backbone(folder.resolve(folder.inputs["base"]), dtype)
    else:
        backbone = load_policy(folder.resolve(start), dtype, trainable=True)
    attach_lora(backbone, config.lora_rank, config.lora_layers, config.seed)
    if config.reference == "start":
        pin_reference(backbone)
    return backbone


def read_prompts(folder: RunFolder, name: str, backbone: Backbone, config: PPOConfig) -> list[Prompt]:
    """The prompts of a file of the run that are short enough."""
    rows = ((row["prompt_id"], chat_ids(backbone.tokenizer, row["messages"])) for row in read_jsonl(folder.file(name)))
    return [Prompt(prompt_id, ids) for prompt_id, ids in rows if len(ids) <= config.max_prompt_tokens]


def train(
    folder: RunFolder,
    config: PPOConfig,
    backbone: Backbone,  # with its trainable weights attached
    score: Score | Scorer,
    prompts: Sequence[Prompt],
    panel: Sequence[Prompt],
    judge: Score | None = None,  # whose word ends a run that a reward alone would go on with; a Scorer brings its own
) -> dict[str, Any]:
    """Run PPO until it is done, a guard ends it, or it is cancelled; leaves the trained policy in `backbone`.

    Returns the figures for result.json. Raises Cancelled with resumable state on disk, Refused when training cannot stay finite.
    """
    learner = Learner(backbone, config, len(prompts))
    metrics = Metrics(folder.file("metrics.jsonl"))
    learner.resume(folder.file("state"))
    rewind(folder, learner.update)
    safe = saved = learner.snapshot()  # the newest state whose rollout passed the guard, and the newest checkpoint
    try:
        if config.length_control == "penalty" and not learner.length.start:
            folder.progress(0, config.updates, "Seeing how long answers are")
            learner.length.begin(length_before(learner, config, prompts, folder.check))
            safe = saved = learner.snapshot()
        while True:
            before = learner.snapshot()
            last = learner.update == config.updates  # after the last update: measure what came out, train no more
            clock = [time.monotonic()]

            # Rollout: the policy answers prompts, and everything is measured; the panel's answers are only read
            drawn = learner.next_prompts(config.episodes // config.answers_per_prompt)
            drawn = [index for index in drawn for _ in range(config.answers_per_prompt)]
            asked = [prompts[index] for index in drawn] + list(panel)
            try:
                recording = to_record(backbone, score)
                answers = answer(learner, config, asked, recording, folder.check)
                clock.append(time.monotonic())
                packed, plan, everything = measure(learner, config, score, asked, answers, recording, folder.check, judge)
                clock.append(time.monotonic())
            except FloatingPointError:  # not finite: try other prompts, and at the third time go back
                learner.bad_steps += 1
                if learner.bad_steps >= BAD_STEPS_TO_ROLL_BACK:
                    safe = saved = roll_back(folder, config, learner, saved)
                continue
            rollout = everything.rows(slice(config.episodes))

            # Guards: bounds on KL and entropy, the judge's word, the price on length
            earned = rollout.scores - learner.beta * k1(rollout.logprobs, rollout.ref_logprobs).sum(1)
            learner.length.look(rollout.lengths, earned - rollout.values[:, 0])
            figures = rollout_metrics(rollout, answers[: config.episodes], learner.beta, learner.length)
            reason = out_of_bounds(config, rollout)
            keepable = reason is None and not learner.length.outside
            parted = learner.judgement.look(learner.update, rollout, learner.policy, config.judge_window, keepable)
            reason = reason or parted or learner.length.failed(last)
            if reason is None and not learner.length.outside:
                safe = before
                if learner.update % config.checkpoint_every == 0:
                    saved = safe
                    keep(folder.file("state"), saved)
            if reason is None and not last:
                # Advantages: the KL-shaped reward, then GAE or one of its alternatives; returns from unwhitened advantages
                scores = rollout.scores - learner.length.cost(rollout.lengths)
                rewards = shaped_rewards(k1(rollout.logprobs, rollout.ref_logprobs), scores, rollout.mask, learner.beta)
                estimate = ESTIMATORS[config.advantage]
                advantages, returns = estimate(
                    rewards, rollout.values, rollout.mask, torch.tensor(drawn), config.gamma, config.gae_lambda
                )
                figures |= {"losses/explained_variance": explained_variance(rollout.values, returns, rollout.mask)}

                # Epochs of minibatches
                advantages = whiten(advantages, rollout.mask)
                figures |= optimise(learner, config, packed, rollout, advantages, returns, plan, folder.check)
                if config.adaptive_kl:
                    learner.beta = adapted_beta(
                        learner.beta, rollout.kl_nats, config.kl_target_nats, config.episodes, config.kl_horizon
                    )
            clock.append(time.monotonic())

            figures |= {name: end - begin for name, (begin, end) in zip(STAGES, pairwise(clock), strict=True)}
            metrics.write(learner.update, figures | {"charts/rollbacks": learner.rollbacks})
            folder.append("samples.jsonl", panel_rows(learner, asked, answers, everything, config.episodes))

            if reason or last:
                taken, best = learner.length.taken, learner.judgement.best
                learner.restore(safe)
                if reason is not None and reason == parted and best is not None:
                    learner.take_back(best["update"], best["policy"])
                if reason and learner.update == 0:
                    raise Refused(f"{reason}{NOTHING_KEPT}")
                return result(folder, learner, reason, taken)
            learner.update += 1
            if learner.bad_steps >= BAD_STEPS_TO_ROLL_BACK:
                safe = saved = roll_back(folder, config, learner, saved)
            else:
                folder.progress(learner.update, config.updates, summary(figures))
    except Cancelled:
        keep(folder.file("state"), safe)
        raise


def length_before(learner: Learner, config: PPOConfig, prompts: Sequence[Prompt], check: Callable[[], None]) -> Tensor:
    """(N,) tokens of answers that the policy gives before it learns, of more than one rollout: one alone is off by a tenth
    easily, and the price would push towards that chance for the whole run.
    """
    drawn = learner.next_prompts(LENGTH_ROLLOUTS * config.episodes)
    try:
        given = answer(learner, config, [prompts[index] for index in drawn], None, check)
    except FloatingPointError as error:
        raise Refused(f"The policy cannot be trained: {error}. Is the model it starts from whole?") from error
    return torch.tensor([len(one.ids) for one in given])


def answer(
    learner: Learner, config: PPOConfig, asked: Sequence[Prompt], recording: Recording | None, check: Callable[[], None]
) -> list[Generated]:
    """One sampled answer per prompt. Token ids are kept from here on, never decoded and encoded again."""
    return generate(
        learner.backbone,
        [prompt.ids for prompt in asked],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        generator=learner.sampling,
        batch_size=DECODED_TOGETHER,
        check=check,
        recording=recording,
    )


def optimise(
    learner: Learner,
    config: PPOConfig,
    packed: Packed,
    rollout: Trajectory,
    advantages: Tensor,  # (B, T) whitened
    returns: Tensor,  # (B, T)
    plan: Plan,
    check: Callable[[], None],
) -> dict[str, float]:
    """The clipped epochs over one rollout; returns the metrics of their steps, averaged (`max_ratio`: the largest).

    All epochs end once a step's approx-KL passes 1.5 times its target, before that step is taken: such a step, or an exploding
    ratio, says that the policy has moved as far as this rollout can speak for.
    """
    learning_rate = config.learning_rate * (1 - learner.update / config.updates)
    taken: list[dict[str, float]] = []
    for pieces in (step for epoch in plan for step in epoch):
        tokens = int(rollout.mask[torch.cat(list(pieces))].sum())
        policy_total = value_total = 0.0
        log_ratios, value_moves = [], []
        for piece in pieces:
            check()
            old = rollout.rows(piece)
            new = response_logprobs(learner.backbone, packed.rows(piece), config.temperature)
            values = learner.value_head(new.states)
            policy = policy_loss(new.logprobs, old.logprobs, advantages[piece], old.mask, config.clip, tokens)
            value = value_loss(values, old.values, returns[piece], old.mask, config.value_clip, tokens)
            torch.autograd.backward(policy + config.vf_coef * value)
            policy_total += float(policy.detach())
            value_total += float(value.detach())
            log_ratios.append((new.logprobs - old.logprobs).detach()[old.mask])
            value_moves.append((values - old.values).detach()[old.mask])
        log_ratio, value_move = torch.cat(log_ratios), torch.cat(value_moves)
        approx_kl = float(k3(torch.zeros_like(log_ratio), log_ratio).mean())
        figures = {
            "losses/policy_loss": policy_total,
            "losses/value_loss": value_total,
            "losses/old_approx_kl": float(-log_ratio.mean()),
            "losses/approx_kl": approx_kl,
            "losses/clipfrac": float(clipped_share(log_ratio.expm1(), config.clip)),
            "losses/max_ratio": float(log_ratio.max().exp()),
            "losses/value_clipfrac": float(clipped_share(value_move, config.value_clip)),
        }
        if approx_kl > 1.5 * config.early_stop_kl_nats:
            learner.optimiser.zero_grad()
            taken.append(figures)
            break
        loss = policy_total + config.vf_coef * value_total
        figures["losses/grad_norm"] = learner.step(loss, learning_rate, config.max_grad_norm)
        taken.append(figures)
        if learner.bad_steps >= BAD_STEPS_TO_ROLL_BACK:
            break
    averages = {name: _mean([step[name] for step in taken if name in step]) for name in taken[0]}
    averages["losses/max_ratio"] = max(step["losses/max_ratio"] for step in taken)
    return averages | {
        "losses/steps": sum("losses/grad_norm" in step for step in taken),
        "charts/learning_rate": learning_rate * learner.rate_scale,
    }


def rewind(folder: RunFolder, update: int) -> None:
    """Drop what was written about updates that will be done again."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        Metrics(folder.file(name)).rewind(update)


def roll_back(folder: RunFolder, config: PPOConfig, learner: Learner, saved: dict[str, Any]) -> dict[str, Any]:
    """Return to the last checkpoint with half the learning rate, and keep that: a cancel must not undo it. Gives the new state.

    Raises Refused when that has been tried often enough.
    """
    rollbacks, rate_scale = learner.rollbacks + 1, learner.rate_scale / 2
    if rollbacks > ROLLBACKS_TO_GIVE_UP:
        raise Refused(
            f"training left the finite numbers {rollbacks} times, each time from the last checkpoint at half the learning rate: "
            "set a lower learning_rate, and look at the reward model's scores"
        )
    learner.restore(saved)
    learner.rollbacks, learner.rate_scale, learner.bad_steps = rollbacks, rate_scale, 0
    rewind(folder, learner.update)
    state = learner.snapshot()
    keep(folder.file("state"), state)
    folder.progress(learner.update, config.updates, f"numbers were not finite: back to update {learner.update} at half the rate")
    return state


def summary(figures: dict[str, float]) -> str:
    return (
        f"score {figures['rollout/score']:+.2f}, KL {figures['kl/exact_nats_per_answer']:.1f} nats per answer, "
        f"length {figures['rollout/length']:.0f}"
    )


def result(folder: RunFolder, learner: Learner, reason: str | None, taken: float) -> dict[str, Any]:
    """The figures of result.json: the policy kept, as its own rollout measured it, beside the one the run started from.

    `taken` is what the last price on length took from answers.
    """
    rows = {row["step"]: row for row in read_jsonl(folder.file("metrics.jsonl"))}
    start, kept = rows[min(rows)], rows[learner.update]
    return {
        "reason": reason or ALL_DONE + (LENGTH_HELD if taken >= DEAR else ""),
        "updates": learner.update,
        "rollbacks": learner.rollbacks,
        "beta": kept["kl/beta"],
        "score_before": start["rollout/score"],
        "score": kept["rollout/score"],
        "kl_nats_per_answer": kept["kl/exact_nats_per_answer"],
        "length_before": learner.length.start,
        "length": kept["rollout/length"],
        "judged_before": start.get("rollout/judged"),
        "judged": kept.get("rollout/judged"),
        "entropy": kept["rollout/entropy"],
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
