"""Training a policy on preferences themselves, from top to bottom: DPO, its length-normalised form, and KTO.

Rafailov et al. 2023, arXiv:2305.18290; Ethayarajh et al. 2024, arXiv:2402.01306. What they have in common: the policy is its own
reward, beta times its log-ratio to the reference, and learns from answers that others wrote, so nothing is sampled for a step.
What came of it is looked at all the same: held-out labels say which weights are kept, and answers of its own how far it moved.
docs/math.md lists symbols, names and metrics. This file knows no database and no reward model.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from trainer.contract.config import PreferenceConfig, config_dict
from trainer.contract.folder import Cancelled, Lost, Refused, RunFolder, read_jsonl
from trainer.contract.messages import Message
from trainer.files.metrics import Metrics
from trainer.lm.backbone import Backbone, attach_lora, context_length, pin_reference
from trainer.lm.integrity.loaded_whole import explained
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone, load_policy, save_policy
from trainer.lm.machine.fit import make_room
from trainer.preference.data import Example, Material, pairs, singles
from trainer.preference.learner import Best, Learner
from trainer.preference.log_ratios import LogRatios
from trainer.preference.look import Asked, Look, look, shown
from trainer.preference.objectives import DPO, KTO, Objective, Said, budget_of
from trainer.reward.data import read_labels
from trainer.reward.validation import interval
from trainer.sft.ptx import Demonstrations, read_demonstrations

SAVE_EVERY_S = 120.0
SAY_EVERY_S = 0.5


def run(folder: RunFolder) -> None:
    """Do a `preference` run: open the policy, read the labels, train, keep the policy. Inputs: docs/architecture.md.

    Raises Refused or BackboneError with the reason when it cannot be done, Cancelled with resumable state on disk.
    """
    config = cast(PreferenceConfig, folder.config)
    folder.progress(0, 1, Message("opening_model"))
    with explained(str(folder.inputs.get("start") or folder.inputs["base"])):
        backbone = open_policy(folder, config)
    labels, left_out = read_labels(folder.path), LeftOut()
    asked = read_prompts(folder, backbone, config, left_out)
    if config.method == "kto":
        figures = train(folder, config, backbone, singles(backbone, labels, config, left_out), KTO, asked, left_out)
    else:
        figures = train(folder, config, backbone, pairs(backbone, labels, config, left_out), DPO, asked, left_out)
    figures |= {"labels": labels.usable, "rewrites": sum(not label.is_verdict for label in labels.comparisons)}
    reason = left_out.after(figures.pop("reason"))
    save_policy(backbone, folder.file("checkpoint"), run={"kind": "preference", "config": config_dict(config)}, figures=figures)
    folder.finish("done", reason=reason, **figures)
    shutil.rmtree(folder.file("state"), ignore_errors=True)


def open_policy(folder: RunFolder, config: PreferenceConfig) -> Backbone:
    """The policy to train: the run's start, or the base with fresh adapters; its reference is what `config.reference` says."""
    start = folder.inputs.get("start")
    if start is None:
        backbone = load_backbone(folder.resolve(folder.inputs["base"]), config.dtype, device=config.device)
    else:
        backbone = load_policy(folder.resolve(start), config.dtype, trainable=True, device=config.device)
    backbone.day = folder.day
    attach_lora(backbone, config.lora_rank, config.lora_layers, config.seed)
    if config.reference == "start":
        pin_reference(backbone)
    return backbone


def read_prompts(folder: RunFolder, backbone: Backbone, config: PreferenceConfig, left_out: LeftOut) -> list[Asked]:
    """The prompts of the run's panel, as many as are answered at each look; those that cannot be asked are noted."""
    found = []
    longest = min(config.max_prompt_tokens, (context_length(backbone) or 2**31) - config.max_new_tokens)
    for row in read_jsonl(folder.file("panel_prompts.jsonl")):
        ids = left_out.chat_ids(backbone, row["prompt_id"], row["messages"])
        if ids is not None and len(ids) > longest:
            left_out.too_long(row["prompt_id"], longest)
        elif ids is not None:
            found.append(Asked(row["prompt_id"], ids))
    return around(found, config.look_answers)


def around(found: Sequence[Asked], count: int) -> list[Asked]:
    """As many as are wanted: each again once all were asked."""
    return [found[number % len(found)] for number in range(count)] if found else []


def train(
    folder: RunFolder,
    config: PreferenceConfig,
    backbone: Backbone,  # with its trainable weights attached
    material: Material[Example],
    method: Callable[[LogRatios, PreferenceConfig, Sequence[Example]], Objective[Example]],
    asked: Sequence[Asked],  # none: prompts of the labels are
    left_out: LeftOut,
) -> dict[str, Any]:
    """Train until all steps are done, a guard ends it, or it is cancelled; leaves the weights to keep in `backbone`.

    Returns the figures for result.json. Raises Cancelled with resumable state on disk, Refused where nothing is left to keep.
    """
    if not material.training:
        reason = Message("labels_prefer_nothing")
        if material.judgements and "too_long_prompts" in left_out.figures:
            reason = Message("no_short_prompt", tokens=config.max_prompt_tokens)
        raise Refused(left_out.why(reason), left_out.figures)
    texts = material.texts
    make_room(backbone, folder.kind, config, len(texts))
    beside = read_demonstrations(folder, config, backbone, config.batch_size, left_out, material.holds_out)
    asked = asked or around([Asked(name, ids) for name, ids in material.asked.items()], config.look_answers)
    try:
        ratios = LogRatios(
            backbone,
            texts,
            config.temperature,
            budget_of(config),
            folder.check,
            lambda done: folder.progress(done, len(texts), Message("reading_answers", done=done, total=len(texts))),
        )
    except FloatingPointError as error:
        raise Refused(Message("policy_not_finite")) from error
    learner = Learner(backbone, config, len(material.training))
    ended = learn(folder, learner, backbone, material, method(ratios, config, material.training), asked, beside)
    if learner.best is None or learner.best.step == 0:
        raise Refused(nothing_kept(learner, ended), left_out.figures)
    learner.take(learner.best)
    figures = figures_of(learner, learner.best, material) | (beside.figures if beside is not None else {})
    return figures | left_out.figures | {"reason": ended or done(learner.best, material)}


def learn(
    folder: RunFolder,
    learner: Learner,
    backbone: Backbone,
    material: Material[Example],
    objective: Objective[Example],
    asked: Sequence[Asked],
    beside: Demonstrations | None,  # learned from in the same steps, with weight `config.ptx_weight`
) -> Message | None:
    """The loop. Returns why it ended early, if it did."""
    config, states, metrics = learner.config, folder.file("state"), Metrics(folder.file("metrics.jsonl"))
    learner.resume(states)
    rewind(folder, learner.step + (learner.unsaid is None))
    said = saved = time.monotonic()
    try:
        while not learner.broke:
            # What the step that was just taken has done; step 0: the policy as it came
            folder.check()
            if learner.unsaid is not None and learner.step in learner.looks:
                seen = look(backbone, config, objective, material.held_out, asked, folder.check)
                folder.append("samples.jsonl", shown(learner.step, seen, asked, backbone))
                metrics.write(learner.step, learner.unsaid | seen.metrics)
                learner.note(seen)
                if seen.kl_nats > config.kl_stop_nats:
                    return past_limit(learner, seen)
            elif learner.unsaid is not None:
                metrics.write(learner.step, learner.unsaid)
            learner.unsaid = None
            if learner.step == learner.total:
                return None
            now = time.monotonic()
            if now - saved > SAVE_EVERY_S:
                learner.save(states)
                saved = now

            # The next step
            batch = [material.training[at] for at in learner.batch()]
            told = objective.ask(batch, True, folder.check)
            loss, figures = told.loss, told_by(told)
            if beside is not None:  # whose gradients come last
                figures["losses/ptx_loss"] = beside.learn(learner.step, config.ptx_weight, folder.check)
                loss += config.ptx_weight * figures["losses/ptx_loss"]
            learner.take_step(loss, figures)
            if now - said > SAY_EVERY_S:
                folder.progress(learner.step, learner.total, Message("preference_training", loss=told.loss))
                said = now
    except FloatingPointError:  # while it was looked at
        return broke(learner)
    except (Cancelled, Lost):
        learner.save(states)
        raise
    return broke(learner)


def told_by(said: Said) -> dict[str, float]:
    """A step's batch as metrics."""
    return {f"preference/{name}": value for name, value in said.figures.items()}


def rewind(folder: RunFolder, step: int) -> None:
    """Drop what was written about steps that will be done again."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        Metrics(folder.file(name)).rewind(step)


def figures_of(learner: Learner, best: Best, material: Material[Example]) -> dict[str, Any]:
    """The figures of result.json: the policy kept, beside the one the run started from."""
    figures: dict[str, Any] = {
        "steps": learner.step,
        "kept_step": best.step,
        "examples": len(material.training),
        "heldout_examples": len(material.held_out),
        "prompts": material.prompts,
        "kl_nats_per_answer": best.metrics["kl/exact_nats_per_answer"],
        "length_before": learner.before["rollout/length"],
        "length": best.metrics["rollout/length"],
        "entropy": best.metrics["rollout/entropy"],
    }
    if material.held_out:
        accuracy = best.metrics["heldout/accuracy"]
        hits = torch.full((len(material.held_out),), accuracy) if best.hits is None else best.hits  # of a state of before
        low, high = interval(hits, material.clusters)
        figures |= {"preferred_accuracy": accuracy, "preferred_accuracy_low": low, "preferred_accuracy_high": high}
        figures |= {"heldout_loss_before": learner.before["heldout/loss"], "heldout_loss": best.metrics["heldout/loss"]}
    return figures


def done(best: Best, material: Material[Example]) -> Message:
    if not material.held_out:
        return Message("preference_done_unmeasured")
    return Message("preference_done", step=best.step, loss=best.metrics["heldout/loss"])


def past_limit(learner: Learner, seen: Look) -> Message:
    limit = learner.config.kl_stop_nats
    if learner.best is None or learner.best.step == 0:
        return Message("kl_past_limit_at", step=learner.step, kl=seen.kl_nats, limit=limit)
    return Message("kl_past_limit_kept", step=learner.step, kl=seen.kl_nats, limit=limit, kept=learner.best.step)


def broke(learner: Learner) -> Message:
    if learner.best is None or learner.best.step == 0:
        return Message("loss_not_a_number")
    return Message("preference_broke", broken=learner.step, step=learner.best.step)


def nothing_kept(learner: Learner, ended: Message | None) -> Message:
    if ended is not None:
        return Message("nothing_kept", reason=ended)
    return Message("preference_never_fell", loss=learner.before["heldout/loss"])
