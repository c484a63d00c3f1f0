"""What one rollout says: the answers' scores, and everything PPO needs to know of them under policy, value head and reference.

One pass over the layers that no training changes, then one each over the policy's and the reference's; a reward that is a head
on the base's states scores in the same passes. Knows no loss and no optimiser.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig
from trainer.lm.backbone import Backbone
from trainer.lm.forward import (
    Packed,
    Visit,
    compared_logprobs,
    first_trained_layer,
    has_trunk,
    pack,
    spread,
    with_recording,
    with_trunk,
)
from trainer.lm.generate import Generated, Trajectory
from trainer.lm.recorded_states import Recording
from trainer.ppo.advantages import k1, masked_mean
from trainer.ppo.guards import LengthPrice
from trainer.ppo.learner import Learner
from trainer.reward.features import Pooler
from trainer.reward.scorer import Scorer

Score = Callable[[list[list[int]], list[list[int]]], Tensor]  # prompt ids, response ids of B answers -> (B,) float
Plan = Sequence[Sequence[Sequence[Tensor]]]  # epochs of minibatches of micro-batches of rows


@dataclass(frozen=True)
class Prompt:
    """A prompt as the loop needs it."""

    prompt_id: int
    ids: list[int]


def draw_plan(learner: Learner, config: PPOConfig, packed: Packed) -> Plan:
    """Epochs of minibatches of micro-batches of row indices: a fresh permutation each epoch, every row once."""
    epochs = []
    for _ in range(config.epochs):
        steps = torch.randperm(config.episodes, generator=learner.shuffling).chunk(config.minibatches)
        epochs.append([cut(step, packed.lengths, config.microbatch) for step in steps])
    return epochs


def to_record(backbone: Backbone, score: Score | Scorer) -> Recording | None:
    """What to keep while answers are written: the frozen trunk's output, and what a reward reads of the layers under it."""
    if not has_trunk(backbone):
        return None
    first = first_trained_layer(backbone)
    return Recording({first, *(layer for layer in (score.layers if isinstance(score, Scorer) else ()) if layer < first)})


@torch.no_grad()
def measure(
    learner: Learner,
    config: PPOConfig,
    score: Score | Scorer,
    asked: Sequence[Prompt],
    answers: Sequence[Generated],
    recording: Recording | None,  # what `to_record` asked for, kept while these answers were written
    check: Callable[[], None],
    judge: Score | None = None,
) -> tuple[Packed, Plan, Trajectory]:
    """The answers under policy, value head, reference and reward; the plan of the epochs to come; and the answers packed, with
    the activations that no training changes.

    Old log-probabilities come from the same code, dtype and padding as training, and from the very micro-batches of the first
    epoch, whose ratios are therefore exactly 1. Raises FloatingPointError when anything is not finite.
    """
    backbone = learner.backbone
    packed = pack([prompt.ids for prompt in asked], [given.ids for given in answers])
    pooler = score.pooler(packed) if isinstance(score, Scorer) and _reads_the_reference_pass(score, backbone, packed) else None
    watch = _watch(pooler, check)
    packed = with_trunk(backbone, packed, watch) if recording is None else with_recording(backbone, packed, recording, watch)
    plan = draw_plan(learner, config, packed)
    shown = cut(torch.arange(config.episodes, len(asked)), packed.lengths, config.microbatch)
    blank, mask = torch.zeros(packed.mask.shape), packed.mask
    logprobs, ref_logprobs, exact_kl, entropy, values = (blank.clone() for _ in range(5))
    for piece in [*(piece for step in plan[0] for piece in step), *shown]:
        rows = packed.rows(piece)
        part = score.pooler(rows) if isinstance(score, Scorer) and pooler is not None else None
        found, states = compared_logprobs(backbone, rows, config.temperature, _watch(None, check), _watch(part, check))
        if pooler is not None and part is not None:
            pooler.take(piece, part)
        for place, flat in zip((logprobs, entropy, ref_logprobs, exact_kl), found, strict=True):
            place[piece] = spread(flat, rows.mask)
        values[piece] = torch.where(rows.mask, learner.value_head(spread(states, rows.mask)), 0.0)
    if isinstance(score, Scorer) and pooler is not None:
        scores = score.score_pooled(pooler)
        judged = score.judge_pooled(pooler) if score.judge_head else None
        overall = score.overall_pooled(pooler) if score.mixes else scores.clone()
    else:
        judge = score.judge if isinstance(score, Scorer) and score.judge_head else judge
        scores = in_parts(score.score if isinstance(score, Scorer) else score, asked, answers, config.microbatch, check)
        judged = in_parts(judge, asked, answers, config.microbatch, check) if judge else None
        overall = scores.clone()
        if isinstance(score, Scorer) and score.mixes and judged is not None:
            overall = in_parts(score.overall, asked, answers, config.microbatch, check)
    if config.length_control == "residual":
        if not isinstance(score, Scorer):
            raise ValueError("only a reward checkpoint knows what length foretells of its scores")
        ended = torch.tensor([given.finish_reason == "eos" for given in answers])
        scores = score.without_length(scores, mask.sum(1) - ended.long())
    if config.penalise_truncation:
        scores[torch.tensor([given.finish_reason == "length" for given in answers])] = config.truncated_score
    returns = (scores - learner.beta * k1(logprobs, ref_logprobs).sum(1))[: config.episodes]
    if learner.update == 0 and bool(torch.isfinite(returns).all()):
        rise = learner.value_head.begin_at(float(returns.mean()))
        values = torch.where(mask, values + rise, 0.0)
    trajectory = Trajectory(logprobs, ref_logprobs, exact_kl, entropy, values, scores, mask, judged, overall)
    if not trajectory.finite:
        raise FloatingPointError("the policy's log-probabilities or the scores are not finite")
    return packed, plan, trajectory


def in_parts(score: Score, asked: Sequence[Prompt], answers: Sequence[Generated], size: int, check: Callable[[], None]) -> Tensor:
    """(B,) float32 scores, `size` answers at a time."""
    parts = []
    for start in range(0, len(asked), size):
        check()
        part = slice(start, start + size)
        parts.append(score([prompt.ids for prompt in asked[part]], [given.ids for given in answers[part]]).float())
    return torch.cat(parts)


def rollout_metrics(rollout: Trajectory, answers: Sequence[Generated], beta: float, length: LengthPrice) -> dict[str, float]:
    """What a rollout says of the policy that wrote it; every mean is over answers' own tokens only."""
    sampled_kl = k1(rollout.logprobs, rollout.ref_logprobs)
    judged = {}
    if rollout.judged is not None and rollout.overall is not None:
        judged = {"rollout/judged": float(rollout.judged.mean()), "rollout/overall": float(rollout.overall.mean())}
    return judged | {
        "rollout/score": float(rollout.scores.mean()),
        "rollout/score_deviation": float(rollout.scores.std(correction=0)),
        "rollout/reward": float((rollout.scores - beta * sampled_kl.sum(1)).mean()),
        "rollout/length": float(rollout.lengths.float().mean()),
        "rollout/length_ratio": length.ratio,
        "rollout/length_price": length.price,
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


def cut(index: Tensor, lengths: Tensor, size: int) -> Sequence[Tensor]:
    """Rows `index` in micro-batches of at most `size`, of like lengths (N,), so that little is padding; longest first."""
    ordered = index[lengths[index].argsort(descending=True, stable=True)]
    return torch.split(ordered, size) if len(ordered) else ()


def _watch(pooler: Pooler | None, check: Callable[[], None]) -> Visit:
    """What looks on while layers run: the wish to cancel, and a reward that lives on their states."""

    def visit(layer: int, states: Tensor) -> None:
        check()
        if pooler is not None:
            pooler.visit(layer, states)

    return visit


def _reads_the_reference_pass(scorer: Scorer, backbone: Backbone, packed: Packed) -> bool:
    """Whether the reference's pass is the one the scorer would make itself, so that its score comes free with it."""
    return (
        scorer.backbone is backbone
        and scorer.head is not None
        and has_trunk(backbone)
        and backbone.reference_weights is None
        and len(packed.prefix) + int(packed.lengths.max()) <= scorer.max_tokens
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
