"""Proximal policy optimisation of a language model against a reward, from top to bottom in the paper's order.

Schulman et al. 2017, arXiv:1707.06347, applied as in Ziegler et al. 2019, arXiv:1909.08593: one answer is one episode, one token
one action, the score comes with the last token, and a KL penalty on every token holds the policy near a reference.
docs/math.md lists symbols, names and metrics. This file knows no database, no labels and no reward model's insides.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from trainer.advantages import adapted_beta, explained_variance, gae, k1, k3, masked_mean, shaped_rewards, whiten
from trainer.backbone import Backbone, reference
from trainer.config import PPOConfig
from trainer.folder import Cancelled, Refused, RunFolder, read_jsonl
from trainer.forward import Packed, pack, response_distributions, response_logprobs, with_trunk
from trainer.learner import Learner, cut, keep
from trainer.losses import clipped_share, policy_loss, value_loss
from trainer.metrics import Metrics
from trainer.rollout import Generated, Trajectory, generate

Score = Callable[[list[list[int]], list[list[int]]], Tensor]
Plan = Sequence[Sequence[Sequence[Tensor]]]  # epochs of minibatches of micro-batches of rows
STAGES = ("time/generate_s", "time/score_s", "time/measure_s", "time/train_s")
DECODED_TOGETHER = 64
BAD_STEPS_TO_ROLL_BACK, ROLLBACKS_TO_GIVE_UP = 3, 3


@dataclass(frozen=True)
class Prompt:
    """A prompt as the loop needs it."""

    prompt_id: int
    ids: list[int]


def train(
    folder: RunFolder,
    config: PPOConfig,
    backbone: Backbone,  # with its trainable weights attached
    score: Score,  # (prompt ids, response ids) of B answers -> (B,) float
    prompts: Sequence[Prompt],
    panel: Sequence[Prompt],
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
        while True:
            before = learner.snapshot()
            last = learner.update == config.updates  # after the last update: measure what came out, train no more
            clock = [time.monotonic()]

            # Rollout: the policy answers prompts, and everything is measured; the panel's answers are only read
            asked = [prompts[index] for index in learner.next_prompts(config.episodes)] + list(panel)
            try:
                answers = answer(learner, config, asked, folder.check)
                clock.append(time.monotonic())
                scores = judge(config, score, asked, answers, folder.check)
                clock.append(time.monotonic())
                packed, plan, everything = measure(learner, config, asked, answers, scores, folder.check)
                clock.append(time.monotonic())
            except FloatingPointError:  # not finite: try other prompts, and at the third time go back
                learner.bad_steps += 1
                if learner.bad_steps >= BAD_STEPS_TO_ROLL_BACK:
                    roll_back(folder, config, learner, saved)
                continue
            rollout = everything.rows(slice(config.episodes))
            figures = rollout_metrics(rollout, answers[: config.episodes], learner.beta)

            reason = guard(config, rollout)
            if reason is None:
                safe = before
                if learner.update % config.checkpoint_every == 0:
                    saved = safe
                    keep(folder.file("state"), saved)
            if reason is None and not last:
                # Advantages: the KL-shaped reward, then GAE; returns from unwhitened advantages
                rewards = shaped_rewards(k1(rollout.logprobs, rollout.ref_logprobs), rollout.scores, rollout.mask, learner.beta)
                advantages, returns = gae(rewards, rollout.values, rollout.mask, config.gamma, config.gae_lambda)
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
            metrics.write(learner.update, figures | {"train/rollbacks": learner.rollbacks})
            folder.append("samples.jsonl", panel_rows(learner, asked, answers, everything, config.episodes))

            if reason or last:
                learner.restore(safe)
                return result(folder, learner, reason)
            learner.update += 1
            if learner.bad_steps >= BAD_STEPS_TO_ROLL_BACK:
                roll_back(folder, config, learner, saved)
            else:
                folder.progress(learner.update, config.updates, summary(figures))
    except Cancelled:
        keep(folder.file("state"), safe)
        raise


def answer(learner: Learner, config: PPOConfig, asked: Sequence[Prompt], check: Callable[[], None]) -> list[Generated]:
    """One sampled answer per prompt. Token ids are kept from here on, never decoded and encoded again."""
    return generate(
        learner.backbone,
        [prompt.ids for prompt in asked],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        generator=learner.sampling,
        batch_size=DECODED_TOGETHER,
        check=check,
    )


def draw_plan(learner: Learner, config: PPOConfig, lengths: Tensor) -> Plan:
    """Epochs of minibatches of micro-batches of row indices: a fresh permutation each epoch, every row once."""
    epochs = []
    for _ in range(config.epochs):
        steps = torch.randperm(config.episodes, generator=learner.shuffling).chunk(config.minibatches)
        epochs.append([cut(step, lengths, config.microbatch) for step in steps])
    return epochs


def judge(
    config: PPOConfig, score: Score, asked: Sequence[Prompt], answers: Sequence[Generated], check: Callable[[], None]
) -> Tensor:
    """(B,) scores; where truncation is penalised, an answer that never ended gets the fixed low score instead."""
    parts = []
    for start in range(0, len(asked), config.microbatch):
        check()
        part = slice(start, start + config.microbatch)
        parts.append(score([prompt.ids for prompt in asked[part]], [given.ids for given in answers[part]]).float())
    scores = torch.cat(parts)
    if config.penalise_truncation:
        scores[torch.tensor([given.finish_reason == "length" for given in answers])] = config.truncated_score
    return scores


@torch.no_grad()
def measure(
    learner: Learner,
    config: PPOConfig,
    asked: Sequence[Prompt],
    answers: Sequence[Generated],
    scores: Tensor,
    check: Callable[[], None],
) -> tuple[Packed, Plan, Trajectory]:
    """The rollout under the policy and the reference, the plan of its epochs, and the activations that no training changes.

    Old log-probabilities come from the same code, dtype and padding as training, and from the very micro-batches of the first
    epoch, whose ratios are therefore exactly 1. Raises FloatingPointError when anything is not finite.
    """
    backbone = learner.backbone
    packed = pack([prompt.ids for prompt in asked], [given.ids for given in answers])
    packed = with_trunk(backbone, packed, lambda _layer, _states: check())
    lengths = packed.prompt_lengths + packed.response_lengths
    plan = draw_plan(learner, config, lengths)
    shown = cut(torch.arange(config.episodes, len(asked)), lengths, config.microbatch)
    mask = packed.mask
    blank = torch.zeros(mask.shape)
    trajectory = Trajectory(blank, blank.clone(), blank.clone(), blank.clone(), blank.clone(), scores, mask)
    for piece in [*(piece for step in plan[0] for piece in step), *shown]:
        check()
        rows = packed.rows(piece)
        policy = response_logprobs(backbone, rows, config.temperature)
        log_p = response_distributions(backbone, rows, config.temperature, policy.states[rows.mask])
        with reference(backbone):
            log_q = response_distributions(backbone, rows, config.temperature)
        chosen = rows.ids[rows.answer_positions]
        flat = log_q.gather(1, chosen[:, None]), (log_p.exp() * (log_p - log_q)).sum(1)
        ref_logprobs, exact_kl = (torch.zeros(rows.mask.shape).masked_scatter(rows.mask, row) for row in flat)
        values = torch.where(rows.mask, learner.value_head(policy.states), 0.0)
        for whole, part in zip(trajectory, (policy.logprobs, ref_logprobs, exact_kl, policy.entropy, values), strict=False):
            whole[piece] = part
    if not trajectory.finite:
        raise FloatingPointError("the policy's log-probabilities or the scores are not finite")
    return packed, plan, trajectory


def guard(config: PPOConfig, rollout: Trajectory) -> str | None:
    """Why the run must end now, in words for a person; None while the policy is inside its bounds."""
    kl, entropy = rollout.kl_nats, float(masked_mean(rollout.entropy, rollout.mask))
    if kl > config.kl_stop_nats:
        return f"KL reached {kl:.1f} nats per answer, past the limit of {config.kl_stop_nats:g}: the policy before that is kept"
    if entropy < config.entropy_floor_nats:
        floor = f"under the floor of {config.entropy_floor_nats:g}"
        return f"entropy fell to {entropy:.3f} nats per token, {floor}: the policy before that is kept"
    return None


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
        "train/learning_rate": learning_rate * learner.rate_scale,
    }


def rewind(folder: RunFolder, update: int) -> None:
    """Drop what was written about updates that will be done again."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        Metrics(folder.file(name)).rewind(update)


def roll_back(folder: RunFolder, config: PPOConfig, learner: Learner, saved: dict[str, Any]) -> None:
    """Return to the last checkpoint with half the learning rate. Raises Refused when that has been tried often enough."""
    rollbacks, rate_scale = learner.rollbacks + 1, learner.rate_scale / 2
    if rollbacks > ROLLBACKS_TO_GIVE_UP:
        raise Refused(
            f"training left the finite numbers {rollbacks} times, each time from the last checkpoint at half the learning rate: "
            "set a lower learning_rate, and look at the reward model's scores"
        )
    learner.restore(saved)
    learner.rollbacks, learner.rate_scale, learner.bad_steps = rollbacks, rate_scale, 0
    rewind(folder, learner.update)
    folder.progress(learner.update, config.updates, f"numbers were not finite: back to update {learner.update} at half the rate")


def rollout_metrics(rollout: Trajectory, answers: Sequence[Generated], beta: float) -> dict[str, float]:
    """What a rollout says of the policy that wrote it; every mean is over answers' own tokens only."""
    sampled_kl = k1(rollout.logprobs, rollout.ref_logprobs)
    lengths = rollout.mask.sum(1).float()
    return {
        "rollout/score": float(rollout.scores.mean()),
        "rollout/score_deviation": float(rollout.scores.std(correction=0)),
        "rollout/reward": float((rollout.scores - beta * sampled_kl.sum(1)).mean()),
        "rollout/length": float(lengths.mean()),
        "rollout/truncated": _mean([given.finish_reason == "length" for given in answers]),
        "rollout/distinct_1": distinct([given.ids for given in answers], 1),
        "rollout/distinct_2": distinct([given.ids for given in answers], 2),
        "rollout/entropy": float(masked_mean(rollout.entropy, rollout.mask)),
        "kl/nats_per_answer": float(sampled_kl.sum(1).mean()),
        "kl/nats_per_token": float(masked_mean(sampled_kl, rollout.mask)),
        "kl/exact_nats_per_answer": rollout.kl_nats,
        "kl/beta": beta,
    }


def distinct(answers: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over all n-grams of all answers (Li et al. 2016, arXiv:1510.03055); 1.0 when there is none."""
    counts = Counter(tuple(ids[at : at + n]) for ids in answers for at in range(len(ids) - n + 1))
    return len(counts) / counts.total() if counts else 1.0


def panel_rows(
    learner: Learner, asked: Sequence[Prompt], answers: Sequence[Generated], measured: Trajectory, start: int
) -> list[Mapping[str, Any]]:
    """The rows of samples.jsonl: the panel's answers at this update, for a person to read."""
    kl = measured.exact_kl.sum(1)
    return [
        {
            "step": learner.update,
            "prompt_id": asked[row].prompt_id,
            "text": learner.backbone.tokenizer.decode(answers[row].ids, skip_special_tokens=True),
            "score": float(measured.scores[row]),
            "kl_nats": float(kl[row]),
        }
        for row in range(start, len(asked))
    ]


def summary(figures: dict[str, float]) -> str:
    return (
        f"score {figures['rollout/score']:+.2f}, KL {figures['kl/exact_nats_per_answer']:.1f} nats per answer, "
        f"length {figures['rollout/length']:.0f}"
    )


def result(folder: RunFolder, learner: Learner, reason: str | None) -> dict[str, Any]:
    """The figures of result.json: the policy kept, as its own rollout measured it, beside the one the run started from."""
    rows = {row["step"]: row for row in read_jsonl(folder.file("metrics.jsonl"))}
    start, kept = rows[min(rows)], rows[learner.update]
    return {
        "reason": reason or "all updates are done",
        "updates": learner.update,
        "rollbacks": learner.rollbacks,
        "beta": kept["kl/beta"],
        "score_before": start["rollout/score"],
        "score": kept["rollout/score"],
        "kl_nats_per_answer": kept["kl/exact_nats_per_answer"],
        "length_before": start["rollout/length"],
        "length": kept["rollout/length"],
        "entropy": kept["rollout/entropy"],
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
