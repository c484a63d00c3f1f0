"""Proximal policy optimisation of a language model against a reward, from top to bottom in the paper's order.

Schulman et al. 2017, arXiv:1707.06347, applied as in Ziegler et al. 2019, arXiv:1909.08593: one answer is one episode, one token
one action, the score comes with the last token, and a KL penalty on every token holds the policy near a reference.
docs/math.md lists symbols, names and metrics. This file knows no database, no labels and no reward model's insides.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig, config_dict
from trainer.contract.folder import Cancelled, Lost, Refused, RunFolder, Unanswered, read_jsonl
from trainer.contract.memory.forecast import ROLLOUTS_FOR_LENGTH
from trainer.contract.messages import Message, as_json, from_json
from trainer.files.checkpoint import CheckpointError
from trainer.files.metrics import Metrics
from trainer.lm.backbone import Backbone, attach_lora, bare_base, context_length, pin_reference
from trainer.lm.forward import response_logprobs
from trainer.lm.integrity.loaded_whole import explained
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.lm.machine.fit import make_room
from trainer.lm.machine.processes import dealt, summed, undealt
from trainer.ppo import report
from trainer.ppo.advantages import ESTIMATORS, explained_variance, k3, scaled, shaped_rewards, with_potentials
from trainer.ppo.evaluate_rollout import evaluate, mixture_on
from trainer.ppo.guards import Ruling
from trainer.ppo.learner import Learner
from trainer.ppo.losses import clipped_share, policy_loss, sampler_weights, value_loss
from trainer.ppo.outside import NOBODY, SCALED_ON, Mixture, Outside
from trainer.ppo.readability import readability
from trainer.ppo.reward import Reward
from trainer.ppo.rollout import Prompt, Rollout, budget_of, to_record, write_answers
from trainer.ppo.safe_state import SafeState
from trainer.sft.ptx import Demonstrations, read_demonstrations

BAD_STEPS_TO_ROLL_BACK = 3

OpenReward = Callable[[str, Backbone], Reward]  # a reward checkpoint's folder, what it may score on; raises CheckpointError
OpenOutside = Callable[[Collection[str]], Outside]  # the names of rewards outside of the model; raises Refused


def run(folder: RunFolder, open_reward: OpenReward, open_outside: OpenOutside) -> None:
    """Do a `ppo` run: open policy, reference and rewards, train, keep the policy. Inputs: docs/architecture.md.

    Raises Refused or BackboneError with the reason when it cannot be done, Cancelled with resumable state on disk.
    """
    config = cast(PPOConfig, folder.config)
    folder.progress(0, config.updates, Message("opening_models"))
    outside = open_outside(config.outside_weights())
    backbone = open_policy(folder, config)
    try:
        reward = open_reward(folder.resolve(folder.inputs["reward"]), backbone)
    except CheckpointError as error:
        raise Refused(Message("reward_cannot_be_used", reason=error.message)) from error
    left_out = LeftOut()
    prompts = read_prompts(folder, "prompts.jsonl", backbone, config, left_out)
    if not prompts:
        raise Refused(left_out.why(Message("no_short_prompt", tokens=config.max_prompt_tokens)), left_out.figures)
    held_out = read_prompts(folder, "panel_prompts.jsonl", backbone, config, left_out)
    make_room(backbone, folder.kind, config, len(held_out))
    panel = (held_out or prompts)[: config.panel_prompts]
    demonstrations = read_demonstrations(folder, config, backbone, config.episodes // config.minibatches, left_out)
    figures = train(folder, config, backbone, reward, prompts, panel, held_out, demonstrations, outside) | left_out.figures
    if config.heldout_every:
        figures |= report.not_watched(len(held_out))
    figures["reason"] = as_json(left_out.after(from_json(figures["reason"])))
    save_policy(backbone, folder.file("checkpoint"), run={"kind": "ppo", "config": config_dict(config)}, figures=figures)
    folder.finish("done", **figures)
    shutil.rmtree(folder.file("state"), ignore_errors=True)


def open_policy(folder: RunFolder, config: PPOConfig) -> Backbone:
    """The policy to train: the run's start, or the base with fresh adapters; its reference is what `config.reference` says.

    Raises BackboneError alone.
    """
    with explained(str(folder.inputs.get("start") or folder.inputs["base"])):
        return _opened(folder, config)


def _opened(folder: RunFolder, config: PPOConfig) -> Backbone:
    start, reward, dtype = folder.inputs.get("start"), folder.inputs.get("reward"), config.dtype
    if dtype == "auto" and reward and Path(folder.resolve(reward), "adapter_config.json").exists():
        dtype = "float32"  # a reward's adapters are merged into the same weights to score, and bfloat16 would swallow them
    if start is None:
        backbone = load_backbone(folder.resolve(folder.inputs["base"]), dtype, device=config.device)
    else:
        backbone = load_policy(folder.resolve(start), dtype, trainable=True, device=config.device)
    backbone.day = folder.day
    trained = backbone.adapted or backbone.reference_weights is not None
    attach_lora(backbone, config.lora_rank, config.lora_layers, config.seed)
    if config.reference == "start" and trained:
        pin_reference(backbone)
    return backbone


def read_prompts(folder: RunFolder, name: str, backbone: Backbone, config: PPOConfig, left_out: LeftOut) -> list[Prompt]:
    """The prompts of a file of the run that are short enough and that the model's chat template takes; the others are noted."""
    found = []
    longest = min(config.max_prompt_tokens, (context_length(backbone) or 2**31) - config.max_new_tokens)
    for row in read_jsonl(folder.file(name)):
        ids = left_out.chat_ids(backbone, row["prompt_id"], row["messages"])
        if ids is not None and len(ids) > longest:
            left_out.too_long(row["prompt_id"], longest)
        elif ids is not None:
            found.append(Prompt(row["prompt_id"], ids, row["messages"]))
    return found


def train(
    folder: RunFolder,
    config: PPOConfig,
    backbone: Backbone,  # with its trainable weights attached
    reward: Reward,  # whose judge, where it has one, ends a run that the reward alone would go on with
    prompts: Sequence[Prompt],
    panel: Sequence[Prompt],  # whose answers are only read
    held_out: Sequence[Prompt] = (),  # by which the best update is found; the panel's are the first of them, if there are any
    demonstrations: Demonstrations | None = None,  # learned from beside, with weight `config.ptx_weight`
    outside: Outside = NOBODY,
) -> dict[str, Any]:
    """Run PPO until it is done, a guard ends it, or it is cancelled; leaves the trained policy in `backbone`.

    Returns the figures for result.json. Raises Cancelled, or Unanswered by a reward outside, with resumable state on disk, and
    Refused when training cannot stay finite.
    """
    learner = Learner(backbone, config, len(prompts))
    learner.resume(folder.file("state"))
    report.rewind(folder, learner.update)
    states = SafeState(folder.file("state"), learner, config.checkpoint_every)
    try:
        if outside and learner.mixture is None:
            folder.progress(0, config.updates, Message("measuring_outside"))
            learner.mixture = begin_outside(learner, config, reward, outside, prompts, folder.check)
            states.take()
        if config.length_control == "penalty" and not learner.guards.length.start:
            folder.progress(0, config.updates, Message("measuring_length"))
            learner.guards.length.begin(length_before(learner, config, prompts, folder.check))
            states.take()
        figures = learn(folder, config, learner, states, reward, prompts, panel, held_out, demonstrations, outside)
        return figures if demonstrations is None else figures | demonstrations.figures
    except (Cancelled, Lost, Unanswered):
        states.keep()
        raise


def begin_outside(
    learner: Learner,
    config: PPOConfig,
    reward: Reward,
    outside: Outside,
    prompts: Sequence[Prompt],
    check: Callable[[], None],
) -> Mixture:
    """How rewards outside of the model are mixed with its own, by what all say of answers of the base."""
    asked = [prompts[index] for index in learner.next_prompts(SCALED_ON)]
    try:
        with bare_base(learner.backbone):
            answers = write_answers(learner.backbone, config, asked, learner.sampling, None, check)
    except FloatingPointError as error:
        raise Refused(Message("policy_not_finite")) from error
    return mixture_on(learner, config, reward, outside, asked, answers, check)


def length_before(learner: Learner, config: PPOConfig, prompts: Sequence[Prompt], check: Callable[[], None]) -> Tensor:
    """(N,) tokens of answers that the policy gives before it learns, of more than one rollout: one alone is off by a tenth
    easily, and the price would push towards that chance for the whole run.
    """
    asked = [prompts[index] for index in learner.next_prompts(ROLLOUTS_FOR_LENGTH * config.episodes)]
    try:
        answers = write_answers(learner.backbone, config, asked, learner.sampling, None, check)
    except FloatingPointError as error:
        raise Refused(Message("policy_not_finite")) from error
    return torch.tensor([len(given.ids) for given in answers])


def learn(
    folder: RunFolder,
    config: PPOConfig,
    learner: Learner,
    states: SafeState,
    reward: Reward,
    prompts: Sequence[Prompt],
    panel: Sequence[Prompt],
    held_out: Sequence[Prompt],
    demonstrations: Demonstrations | None,
    outside: Outside,
) -> dict[str, Any]:
    """The loop. After the last update one more rollout measures what came out, and nothing is trained on it."""
    metrics = Metrics(folder.file("metrics.jsonl"))
    again = [prompt for _ in range(config.heldout_answers - 1) for prompt in held_out]
    while True:
        states.begin_update()
        last = learner.update == config.updates
        clock = [time.monotonic()]

        # Rollout: the policy answers prompts, and everything is measured
        drawn = learner.next_prompts(config.episodes // config.answers_per_prompt)
        turn = bool(config.heldout_every) and (last or learner.update % config.heldout_every == 0)
        watched = [*panel, *held_out[len(panel) :], *again] if turn else list(panel)
        asked = [prompts[index] for index in drawn for _ in range(config.answers_per_prompt)] + watched
        try:
            recording = to_record(learner.backbone, reward)
            answers = write_answers(learner.backbone, config, asked, learner.sampling, recording, folder.check)
            clock.append(time.monotonic())
            rollout = evaluate(learner, config, reward, asked, answers, recording, folder.check, outside)
            del recording  # what it holds of each answer is not needed to learn from it
            rollout = replace(rollout, panel=len(panel), held_out=config.heldout_answers * len(held_out) if turn else 0)
            clock.append(time.monotonic())
        except FloatingPointError:  # not finite: try other prompts, and at the third time go back
            learner.bad_steps += 1
            if learner.bad_steps >= BAD_STEPS_TO_ROLL_BACK:
                roll_back(folder, config, learner, states)
            continue
        own = rollout.trajectory

        if learner.steps_back(config, own, last):
            continue  # what is left of it has to be looked at again

        learner.hold_to_base(config, own)

        # Guards: bounds on KL and entropy, the judge's word, the price on length
        ruling = learner.guards.look(config, learner.update, own, learner.penalty(own), learner.policy)
        figures = report.rollout_metrics(rollout, learner)
        if rollout.held_out:
            ruling, found = look_at_held_out(learner, config, rollout, ruling, folder.check)
            figures |= found
        if ruling.keepable:
            states.passed()

        if ruling.reason is None and not last:
            # Advantages: the KL-shaped reward, then GAE or one of its alternatives; returns from advantages not scaled yet
            scores = own.paid_scores - learner.guards.length.cost(own.lengths)
            rewards = shaped_rewards(learner.penalty(own), scores, own.mask)
            if own.potentials is not None:
                rewards = with_potentials(rewards, own.potentials, own.mask, config.gamma)
            estimate = ESTIMATORS[config.advantage]
            advantages, returns = estimate(rewards, own.values, own.mask, rollout.prompts, config.gamma, config.gae_lambda)
            figures |= {"losses/explained_variance": explained_variance(own.values, returns, own.mask)}

            # Epochs of minibatches
            advantages = scaled(config.advantage, advantages, own.mask)
            figures |= optimise(learner, config, rollout, advantages, returns, folder.check, demonstrations)
            learner.steer(config, own)
        clock.append(time.monotonic())

        report.write(folder, metrics, learner, rollout, figures, clock)
        if ruling.reason is not None or last:
            return finish(folder, learner, states, ruling)
        learner.update += 1
        if learner.bad_steps >= BAD_STEPS_TO_ROLL_BACK:
            roll_back(folder, config, learner, states)
        else:
            folder.progress(learner.update, config.updates, report.summary(figures))


def look_at_held_out(
    learner: Learner, config: PPOConfig, rollout: Rollout, ruling: Ruling, check: Callable[[], None]
) -> tuple[Ruling, dict[str, float]]:
    """What the guards say once answers to held-out prompts are looked at, too, and their metrics."""
    read = readability(learner.backbone, rollout, budget_of(config), check)
    members = rollout.measured.rows(rollout.held_out_rows).members
    guard, decode = learner.guards.held_out, learner.backbone.tokenizer.decode
    figures, reason = guard.look(config, learner.update, members, read, learner.policy, decode, ruling.keepable)
    if ruling.keepable and reason is not None:
        ruling = Ruling(reason, False, guard.readable)
    return ruling, figures


def optimise(
    learner: Learner,
    config: PPOConfig,
    rollout: Rollout,
    advantages: Tensor,  # (B, T) scaled
    returns: Tensor,  # (B, T)
    check: Callable[[], None],
    demonstrations: Demonstrations | None = None,
) -> dict[str, float]:
    """The clipped epochs over one rollout; returns the metrics of their steps, averaged (`max_ratio`: the largest).

    All epochs end once a step's approx-KL passes 1.5 times its target, before that step is taken: such a step, or an exploding
    ratio, says that the policy has moved as far as this rollout can speak for.
    """
    learning_rate = config.learning_rate * (1 - learner.update / config.updates)
    taken: list[dict[str, float]] = []
    whole = rollout.trajectory
    weights = sampler_weights(whole.logprobs, whole.sampler_logprobs, whole.mask, config.sampler_weight_cap)
    for pieces in (step for epoch in rollout.plan for step in epoch):
        tokens = int(whole.mask[torch.cat(list(pieces))].sum())
        policy_total = value_total = 0.0
        log_ratios, value_moves = [], []
        for piece in dealt(pieces):
            check()
            old = whole.rows(piece)
            new = response_logprobs(learner.backbone, rollout.packed.rows(piece), config.temperature)
            values = learner.value_head(new.states)
            counts = None if weights is None else weights[piece]
            policy = policy_loss(new.logprobs, old.logprobs, advantages[piece], old.mask, config.clip, tokens, counts)
            value = value_loss(values, old.values, returns[piece], old.mask, config.value_clip, tokens)
            torch.autograd.backward(policy + config.vf_coef * value)
            policy_total += float(policy.detach())
            value_total += float(value.detach())
            log_ratios.append((new.logprobs - old.logprobs).detach()[old.mask])
            value_moves.append((values - old.values).detach()[old.mask])
        policy_total, value_total = summed(policy_total), summed(value_total)
        log_ratio, value_move = torch.cat(undealt(log_ratios)), torch.cat(undealt(value_moves))
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
        if demonstrations is not None:  # whose gradients come last
            figures["losses/ptx_loss"] = demonstrations.learn(learner.ptx_steps, config.ptx_weight, check)
            loss += config.ptx_weight * figures["losses/ptx_loss"]
            learner.ptx_steps += 1
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


def roll_back(folder: RunFolder, config: PPOConfig, learner: Learner, states: SafeState) -> None:
    """Go back to the last checkpoint, at half the rate."""
    states.roll_back()
    report.rewind(folder, learner.update)
    folder.progress(learner.update, config.updates, Message("rolled_back", update=learner.update))


def finish(folder: RunFolder, learner: Learner, states: SafeState, ruling: Ruling) -> dict[str, Any]:
    """Leave in the learner the policy that held-out prompts like best, or that the judge liked best, or the last that could be
    read, or the last safe one; the figures for result.json.
    """
    taken, best, updates = learner.guards.length.taken, learner.guards.held_out.best, learner.update
    parted = ruling.reason is not None and ruling.reason.code == "judge_parted"
    kept = ruling.instead if parted else best or ruling.instead
    states.restore()
    if kept is not None:
        learner.take_back(kept["update"], kept["policy"])
    if ruling.reason is not None and learner.update == 0:
        raise Refused(Message("nothing_kept", reason=ruling.reason))
    return report.result(folder, learner, ruling.reason or report.whole(taken, best, updates))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
