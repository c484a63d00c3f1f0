"""The reward run: labels in, a reward checkpoint out, with an honest account of how far it agrees with people.

Read the labels; read every answer once with the frozen base; fit the head on all folds but one and predict that one; fit it on
everything that is not the judge's; where there are enough labels, train adapters too and keep what is better on a held-out fold;
fit a head for every criterion and for the flags; take off the scores what the folds' heads disagree by; put them on the panel's
scale; say whether PPO may use it; draw the map of what the prompts cover. Nothing is chosen on a prompt that is then reported as
held out, but for two choices that figures name (by whose standards, adapters).
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainer.contract.config import RewardConfig
from trainer.contract.folder import Refused, RunFolder
from trainer.contract.messages import Message, as_json
from trainer.files.metrics import Metrics
from trainer.lm.backbone import Backbone
from trainer.lm.left_out import LeftOut
from trainer.lm.loading import load_backbone
from trainer.reward import validation
from trainer.reward.adapter import FineTuned, train
from trainer.reward.coverage.draw import draw
from trainer.reward.data import Labels, TokenSequence, encode_labels, most_tokens, read_labels
from trainer.reward.features import FeatureCache, choose_layers, groups, pooled_states
from trainer.reward.flags import FEWEST_FLAGS, FLAGGED, fit_flags, flag_ratings, typical_cost
from trainer.reward.gate import gate, looked
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import settings_of
from trainer.reward.head.model import Head
from trainer.reward.head_files import RESERVED, earlier_heads
from trainer.reward.held_out import (
    FEWEST_PROMPTS,
    Split,
    cross_validate,
    headline,
    held_out_figures,
    join,
    predict,
    split_prompts,
)
from trainer.reward.people.standards import Fit, choose_standards, fitted_head, follow, standards_figures
from trainer.reward.rubric import NO, YES
from trainer.reward.save import RewardHeads, disagreement, member_unit, save, scale
from trainer.reward.score_weights import OVERALL
from trainer.reward.validation import HeldOut

FEWEST_LABELS = 30  # by one criterion, for a head of its own
LABEL_COUNTS = ("labels", "skipped", "prompts", "comparisons", "ratings", "ties", "both_bad")  # of everything judged


def run(folder: RunFolder) -> None:
    """Do the reward run of this folder. Raises Refused or BackboneError in a person's words, Cancelled when asked to stop."""
    config = folder.config
    if not isinstance(config, RewardConfig):
        raise Refused(Message("wrong_kind", kind=folder.kind))
    started = time.monotonic()
    labels = read_labels(folder.path)
    refuse_too_few(labels, config)
    backbone = load_backbone(folder.resolve(folder.inputs["base"]), config.dtype, device=config.device)
    backbone.day = folder.day
    left_out = LeftOut()
    labels, sequences = encode_labels(backbone, labels, most_tokens(backbone, config.max_tokens), left_out)
    if not labels.answers:
        raise Refused(left_out.why(Message("base_not_finite")), left_out.figures)
    cache = open_cache(folder, backbone)
    labels, sequences, features = read_answers(folder, backbone, labels, sequences, config, left_out, cache)
    if left_out:
        refuse_too_few(labels, config, left_out)
    earlier = earlier_heads(folder.resolve(folder.inputs["earlier"])) if folder.inputs.get("earlier") else {}
    earlier = {key: head for key, head in earlier.items() if head.groups.keys() <= features.keys()}  # the settings may differ
    split = split_prompts(labels, config)
    own, judged = labels.on(split.folds), labels.on(split.judge)  # what the reward learns from, and the judge
    read_at = time.monotonic()

    chosen, figures = choose_standards(folder, own, features, split, config, earlier.get(OVERALL))
    head, members, parts, people = follow(chosen.fitted(own), chosen, own, split, features, config)
    judge = fitted_head(features, judged, config, chosen.standards, earlier.get("judge")) if split.judge else None
    judge = judge.following(people) if judge and people else judge
    asked = judged if people is None else judged.by_people(people)
    held = join([*parts, predict(asked, split.count, head.reward(features), head, head.axis(features))])
    figures |= standards_figures(head, own, people)
    figures |= held_out_figures(labels, held, sequences, config.leniency)
    figures |= left_out.figures | {"form": "head", "groups": head.shares(), "judge_labels": judged.usable}
    figures |= {"judged_answers": len(labels.judged), "cut_answers": sum(answer.cut for answer in labels.judged)}
    figures["shortened_answers"] = sum(item.shortened for item in sequences)
    earlier_tests = int(folder.inputs.get("earlier_tests", 0))
    criteria, figures["criteria"] = fit_criteria(folder, own, features, split, config, earlier_tests)
    costs = folder.inputs.get("flag_costs", {})
    flags = fit_flags(features, own, costs)
    figures["flagged"] = sum(rating.overall == FLAGGED for rating in flag_ratings(labels.flag_judgements, costs))
    figures["flags_learned"] = flags is not None
    tuned: FineTuned | None = None
    if wants_adapter(labels, config):
        tuned, compared = try_adapter(folder, own, sequences, features, split, chosen.fitted, head, people, config)
        figures |= compared
    kept = RewardHeads(head, members, tuned, judge, criteria, flags, typical_cost(own, costs) if flags else 0.0)
    rewards = head.reward(features) if tuned is None else tuned.rewards(sequences, folder.check)
    unit = member_unit(kept, labels, features, rewards)
    rewards = rewards - config.pessimism * unit * disagreement(kept, labels, features)
    lengths = torch.tensor([len(item.response_ids) for item in sequences], dtype=torch.float64)
    scales = scale(kept, labels, features, rewards, lengths, config, split.folds, unit)
    figures |= people_figures(labels, held, head) | answer_figures(kept, own, features, rewards, scales.scores, lengths)
    figures |= {"mix": scales.mix.weights, "panel": scales.panel, **scales.heads[OVERALL]}
    passed, reason, tested = gate_of_what_is_paid(figures, config, earlier_tests)
    figures |= {"gate_passed": passed, "gate_reason": as_json(reason), "tested": tested, "earlier_tests": earlier_tests}
    save(folder, backbone, kept, scales, figures)  # before anything that differs from run to run
    try:
        draw(folder.path, backbone, labels.answers, features, cache, most_tokens(backbone, config.max_tokens))
    except Exception:  # a reward is whole without a picture of its prompts; what went wrong is in the run's log
        traceback.print_exc()
    figures |= {"fit_s": round(time.monotonic() - read_at, 3), "seconds": round(time.monotonic() - started, 3)}
    numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
    Metrics(folder.file("metrics.jsonl")).write(split.count + 1, {f"reward/{name}": value for name, value in numbers.items()})
    folder.finish("done", reason=left_out.after(reason), **figures)
    shutil.rmtree(folder.file("state"), ignore_errors=True)


def refuse_too_few(labels: Labels, config: RewardConfig, left_out: LeftOut | None = None) -> None:
    """Raise Refused, saying what is there and what is needed, and what of it was left out."""
    usable, prompts = labels.usable, len(labels.prompt_keys)
    if usable < config.min_labels:
        missing = config.min_labels - usable
        reason = Message("too_few_labels", usable=usable, needed=config.min_labels, missing=missing)
    elif prompts < FEWEST_PROMPTS:
        reason = Message("too_few_prompts", prompts=prompts, needed=FEWEST_PROMPTS)
    else:
        return
    if left_out is None:
        raise Refused(reason)
    raise Refused(left_out.after(reason), left_out.figures)


def read_answers(
    folder: RunFolder,
    backbone: Backbone,
    labels: Labels,
    sequences: Sequence[TokenSequence],  # of the labels' answers
    config: RewardConfig,
    left_out: LeftOut,
    cache: FeatureCache,
) -> tuple[Labels, list[TokenSequence], dict[str, Tensor]]:
    """Group -> (answers, D) features, from the cache or in one pass over the texts, with the labels and sequences of the answers
    that have any: where the base's own numbers are not finite, the answer is left out. A cancelled run keeps what it has read.
    """
    place = folder.file("state") / "features.bin"
    means = pooled_states(backbone, sequences, cache.layers, cache, partial(say_read, folder), place)
    finite = torch.stack([torch.isfinite(states).all(1) for states in means.values()]).all(0)
    for answer, whole in zip(labels.answers, finite.tolist(), strict=True):
        if not whole:
            left_out.not_finite(answer.prompt_name)
    kept = finite.nonzero()[:, 0].tolist()
    if not kept:
        raise Refused(Message("base_not_finite"))
    read = [sequences[index] for index in kept]
    lengths = torch.tensor([len(item.response_ids) for item in read], dtype=torch.float32)
    if len(kept) < len(sequences):  # else no copy
        means = {layer: states[kept] for layer, states in means.items()}
    return labels.about(kept), read, groups(means, lengths, config.length_covariate)


def open_cache(folder: RunFolder, backbone: Backbone) -> FeatureCache:
    """Where features of answers are kept: the project's, or the run's own."""
    place = folder.inputs.get("cache")
    return FeatureCache((folder.path / place) if place else folder.file("state"), backbone, choose_layers(backbone))


def say_read(folder: RunFolder, done: int, total: int) -> None:
    folder.check()
    folder.progress(done, total, Message("reading_answers", done=done, total=total))


def say_apart(loss: float) -> Message:
    return Message("adapters_without_fold", loss=loss)


def say_whole(loss: float) -> Message:
    return Message("adapters_on_all_labels", loss=loss)


def fit_criteria(
    folder: RunFolder, labels: Labels, features: dict[str, Tensor], split: Split, config: RewardConfig, earlier_tests: int
) -> tuple[dict[str, Head], dict[str, dict[str, Any]]]:
    """A head for every criterion and every question of the rubric that enough labels speak of, and how well each foretells labels
    of held-out prompts. A question that it does not foretell for sure has no head: it is left out.
    """
    heads, figures = {}, dict[str, dict[str, Any]]()
    weights, asked = config.weights(), {one.item for one in labels.rubric}
    for key in sorted({*labels.criteria, *asked, *(key for key, weight in weights.items() if weight)} - {OVERALL}):
        if key in RESERVED:  # a project older than their refusal; the checkpoint keeps other heads under these names
            continue
        some = labels.answering(key) if key in asked else labels.by(key)
        figures[key] = {"labels": some.usable, "weight": weights.get(key, 0.0)}
        if key in asked:
            figures[key] |= answers_to(labels, key)
        if some.usable < FEWEST_LABELS or len(some.prompt_keys) < FEWEST_PROMPTS:
            continue
        if len({split.folds[prompt] for prompt in some.prompt_keys}) < 2:  # nothing to learn from when that fold is held out
            continue
        if key in asked and min(figures[key]["yes"], figures[key]["no"]) < FEWEST_FLAGS:
            figures[key] |= {"gate_passed": False, "tested": False, "left_out": True}
            continue
        folder.check()

        def fitted(part: Labels, of_two: bool = key in asked) -> Head:
            if of_two:
                return fit(features, [], part.ratings, replace(settings_of(config), points=2))
            return fitted_head(features, part, config)

        parts, _ = cross_validate(some, split, fitted, features)
        figures[key] |= validation.headline_figures(join(parts), config.leniency)
        passed, reason = gate(figures[key], earlier_tests)
        figures[key] |= {"gate_passed": passed, "tested": looked(reason)}
        if key in asked and not passed:
            figures[key]["left_out"] = True
            continue
        heads[key] = fitted(some)
    return heads, figures


def answers_to(labels: Labels, item: str) -> dict[str, int]:
    """How often a question of the rubric was answered in each way."""
    said = [one.said for one in labels.rubric if one.item == item]
    return {"yes": said.count(YES), "no": said.count(NO), "cannot_say": said.count(None)}


def gate_of_what_is_paid(figures: dict[str, Any], config: RewardConfig, earlier_tests: int) -> tuple[bool, Message, bool]:
    """Whether PPO may learn from what the settings pay for, and why: the overall verdict's gate, and where it counts nothing,
    that of every criterion which does. Criteria without a head, and questions of the rubric that are left out, are named.
    The last says whether any of them looked at a p value.
    """
    paid = {key for key, weight in config.weights().items() if weight}
    by_criterion = {key: figures["criteria"].get(key, {}).get("gate_passed") for key in sorted(paid - {OVERALL})}
    learned = {key: own for key, own in by_criterion.items() if own is not None}
    lacking = ", ".join(key for key in by_criterion if key not in learned)
    dropped = [key for key in learned if figures["criteria"][key].get("left_out")]
    if OVERALL in paid or len(dropped) < len(learned):
        learned = {key: own for key, own in learned.items() if key not in dropped}
    else:  # nothing else counts
        dropped = []
    if OVERALL in paid:
        passed, reason = gate(figures, earlier_tests)
        asked = looked(reason)
    elif learned:
        failing = [key for key, own in learned.items() if not own]
        passed, asked = not failing, any(figures["criteria"][key]["tested"] for key in learned)
        reason = Message("criteria_beat_chance", names=", ".join(learned))
        if failing:
            reason = Message("criteria_within_chance", names=", ".join(failing))
    else:
        nobody = Message("criteria_without_labels", names=lacking, labels=FEWEST_LABELS, prompts=FEWEST_PROMPTS)
        return False, nobody, False
    if dropped:
        reason = Message("both", first=reason, second=Message("questions_left_out", names=", ".join(dropped)))
    if lacking:
        left_out = Message("criteria_left_out", names=lacking, labels=FEWEST_LABELS, prompts=FEWEST_PROMPTS)
        reason = Message("both", first=reason, second=left_out)
    return passed, reason, asked


def people_figures(labels: Labels, held: HeldOut, head: Head) -> dict[str, Any]:
    """How far people agree with each other, so that a reward could agree with them, and how far it does with each."""
    said = held.verdicts
    return validation.agreement_figures(labels) | {
        "annotators": validation.annotators(said.comparisons, said.delta, head.log_nu),
    }


def answer_figures(
    kept: RewardHeads, labels: Labels, features: dict[str, Tensor], rewards: Tensor, scores: Tensor, lengths: Tensor
) -> dict[str, Any]:
    """How scores go with length, and the judge with the reward; its accuracy is on the reward's labels, which it never saw."""
    figures: dict[str, Any] = {"length_correlation": validation.correlation(scores, lengths.log())}
    if kept.judge is not None:
        own = kept.judge.reward(features)
        figures["judge_accuracy"] = validation.accuracy(predict(labels, 0, own, kept.judge))
        figures["judge_correlation"] = validation.correlation(own, rewards)
    return figures


def wants_adapter(labels: Labels, config: RewardConfig) -> bool:
    return config.method == "lora" or (config.method == "auto" and labels.usable >= config.lora_min_labels)


def try_adapter(
    folder: RunFolder,
    labels: Labels,  # the reward's
    sequences: Sequence[TokenSequence],
    features: dict[str, Tensor],
    split: Split,
    fitted: Fit,
    head: Head,
    followed: frozenset[str] | None,
    config: RewardConfig,
) -> tuple[FineTuned | None, dict[str, Any]]:
    """Train adapters without the first fold and compare on it; the better, trained on everything, and its figures.

    Returns None for the adapters when the head is kept. With method `lora` they are kept whatever the comparison says.
    """
    source = folder.resolve(folder.inputs["base"])

    def trained(labels: Labels, people: Head, say: Callable[[float], Message], state: str) -> FineTuned:
        def tick(done: int, total: int, loss: float) -> None:
            folder.check()
            folder.progress(done, total, say(loss))

        states = folder.file("state") / state
        backbone, reading = load_backbone(source, config.dtype, device=config.device), partial(say_read, folder)
        axis = people.axis(features)
        return train(backbone, sequences, labels, config, people, tick, states, reading, axis)

    rest, held = labels.on(split.outside(0)), labels.on(split.inside(0))
    held = held if followed is None else held.by_people(followed)
    people = fitted(rest) if followed is None else fitted(rest).following(followed)
    rewards = trained(rest, people, say_apart, "adapters-held-out").rewards(sequences, folder.check)
    mine = held_out_figures(labels, predict(held, 0, rewards, people), sequences, config.leniency)
    theirs = held_out_figures(labels, predict(held, 0, people.reward(features), people), sequences, config.leniency)
    compared = {
        "adapter_accuracy": headline(mine),
        "head_accuracy": headline(theirs),
        "compared_on": mine["decided"] or mine["rating_pairs"],
    }
    if config.method == "auto" and headline(mine) <= headline(theirs):
        return None, compared
    whole = trained(labels, head, say_whole, "adapters")
    # Of the held-out fold only, and counts of what those rest on; how many labels there are stays what it was.
    chosen = {name: value for name, value in mine.items() if name not in LABEL_COUNTS}
    return whole, chosen | compared | {"form": "lora", "figures_on": "choosing fold"}
