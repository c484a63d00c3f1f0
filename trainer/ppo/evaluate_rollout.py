"""What one rollout says: the answers' scores, and everything PPO needs to know of them under policy, value head and reference.

One pass over the layers that no training changes, then one each over the policy's and the reference's, and the base's where it is
another; a reward that reads the base's states looks on at the same passes. Knows no loss and no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainer.contract.config import PPOConfig
from trainer.lm.backbone import Backbone, bare_base
from trainer.lm.forward import (
    LayerVisit,
    Packed,
    compared_logprobs,
    has_trunk,
    pack,
    response_logprobs,
    spread,
    with_recording,
    with_trunk,
)
from trainer.lm.generate import Generated
from trainer.lm.machine import processes
from trainer.lm.machine.processes import dealt, said_by_first, several, undealt, united
from trainer.lm.recorded_states import RecordedStates
from trainer.ppo.learner import Learner
from trainer.ppo.outside import NOBODY, Mixture, Outside, ask, mixture
from trainer.ppo.reward import Onlooker, Reward, Verdicts, joined
from trainer.ppo.rollout import Plan, Prompt, Rollout, Trajectory, budget_of, draw_plan, micro_batches


@torch.no_grad()
def evaluate(
    learner: Learner,
    config: PPOConfig,
    reward: Reward,
    asked: Sequence[Prompt],
    answers: Sequence[Generated],
    recording: RecordedStates | None,  # what `to_record` asked for, kept while these answers were written
    check: Callable[[], None],
    outside: Outside = NOBODY,
) -> Rollout:
    """The answers under policy, value head, reference, base and reward; packed, with the plan of the epochs to come.

    Old log-probabilities come from the same code, dtype and padding as training, and from the very micro-batches of the first
    epoch, whose ratios are therefore exactly 1. Raises FloatingPointError when anything is not finite.
    """
    packed = pack([prompt.ids for prompt in asked], [given.ids for given in answers])
    looks_on = not several()  # it would see the rows of one process
    onlooker = reward.onlooker(learner.backbone, packed, config.partial_scores) if looks_on else None
    watch = _watch(check, onlooker, torch.arange(len(asked)))
    if recording is None:
        packed = _shared_trunk(learner.backbone, packed, watch)
    else:
        packed = with_recording(learner.backbone, packed, recording, watch)
    plan = draw_plan(config, packed, learner.shuffling)
    measured = _under_policy_and_reference(learner, config, packed, plan, onlooker, check)
    said = onlooker.verdicts() if onlooker is not None else _in_parts(reward, asked, answers, config.microbatch, check)
    scores = _rewarded(config, reward, said.scores, answers)
    if outside and learner.mixture is not None:
        given = said_by_first(lambda: ask(outside, learner.backbone, asked, answers, check))
        measured = measured._replace(outside=given)
        scores = learner.mixture.mixed(scores, given)
    measured = measured._replace(sampler_logprobs=_when_drawn(answers, packed.width))
    measured = measured._replace(scores=scores, judged=said.judged, overall=said.overall, members=said.members)
    if config.partial_scores:
        partial = (
            onlooker.partial() if onlooker else _partial_in_parts(reward, asked, answers, config.microbatch, packed.width, check)
        )
        measured = measured._replace(potentials=partial)
    measured = measured._replace(cut_cost=_cut_cost(config, scores, answers))
    if learner.update == 0:
        measured = _begin_values(learner, config, measured)
    if not measured.finite:
        raise FloatingPointError("the policy's log-probabilities or the scores are not finite")
    return Rollout(asked, answers, packed, plan, measured, config.episodes)


def mixture_on(
    learner: Learner,
    config: PPOConfig,
    reward: Reward,
    outside: Outside,
    asked: Sequence[Prompt],
    answers: Sequence[Generated],  # of the base
    check: Callable[[], None],
) -> Mixture:
    """How scores are mixed from now on, by what the model and the rewards outside say of these answers. Raises Refused."""
    said = _in_parts(reward, asked, answers, config.microbatch, check)
    scores = _rewarded(config, reward, said.scores, answers)
    given = said_by_first(lambda: ask(outside, learner.backbone, asked, answers, check))
    return mixture(config.outside_weights(), scores, given)


def _shared_trunk(backbone: Backbone, packed: Packed, watch: LayerVisit) -> Packed:
    """`with_trunk`, each process for its share of the rows."""
    if not has_trunk(backbone) or not several() or len(packed.ids) < processes.place()[1]:
        return with_trunk(backbone, packed, watch)
    own = torch.tensor(dealt(range(len(packed.ids))))
    part = with_trunk(backbone, packed.rows(own), watch)
    assert part.states is not None
    states = part.states.new_zeros(*packed.ids.shape, part.states.shape[-1])
    states[own, : part.states.shape[1]] = part.states
    return replace(packed, prefix_states=part.prefix_states, states=united(states))


def _under_policy_and_reference(
    learner: Learner, config: PPOConfig, packed: Packed, plan: Plan, onlooker: Onlooker | None, check: Callable[[], None]
) -> Trajectory:
    """All that needs no score; scores are still blank."""
    mask = packed.mask
    blank = torch.zeros(mask.shape)
    logprobs, ref_logprobs, exact_kl, entropy, values, base_logprobs = (blank.clone() for _ in range(6))
    backbone, to_base = learner.backbone, learner.backbone.reference_is_base
    panel = micro_batches(torch.arange(config.episodes, len(mask)), packed.lengths, budget_of(config))
    for piece in dealt([*(piece for step in plan[0] for piece in step), *panel]):
        rows = packed.rows(piece)
        watches = _watch(check), _watch(check, onlooker if to_base else None, piece)
        found, states = compared_logprobs(backbone, rows, config.temperature, *watches)
        for place, flat in zip((logprobs, entropy, ref_logprobs, exact_kl), found, strict=True):
            place[piece] = spread(flat, rows.mask)
        values[piece] = torch.where(rows.mask, learner.value_head(spread(states, rows.mask)), 0.0)
        if not to_base:
            with bare_base(backbone):
                said = response_logprobs(backbone, rows, config.temperature, _watch(check, onlooker, piece))
            base_logprobs[piece] = said.logprobs
    for figure in (logprobs, ref_logprobs, exact_kl, entropy, values, *(() if to_base else (base_logprobs,))):
        united(figure)
    scores = torch.zeros(len(mask))
    measured = Trajectory(logprobs, ref_logprobs, exact_kl, entropy, values, scores, mask)
    return measured if to_base else measured._replace(base_logprobs=base_logprobs)


def _in_parts(
    reward: Reward, asked: Sequence[Prompt], answers: Sequence[Generated], size: int, check: Callable[[], None]
) -> Verdicts:
    """The reward's own passes, `size` answers at a time."""
    parts = []
    for start in dealt(range(0, len(asked), size)):
        check()
        given = answers[start : start + size]
        prompt_ids = [prompt.ids for prompt in asked[start : start + size]]
        parts.append(reward.verdicts(prompt_ids, [one.ids for one in given], [one.finish_reason == "length" for one in given]))
    return joined(undealt(parts))


def _partial_in_parts(
    reward: Reward, asked: Sequence[Prompt], answers: Sequence[Generated], size: int, width: int, check: Callable[[], None]
) -> Tensor | None:
    """(B, T) likewise, what answers were worth before each token, padded to `width`."""
    parts: list[Tensor | None] = []
    for start in dealt(range(0, len(asked), size)):
        check()
        some = slice(start, start + size)
        part = reward.partial([prompt.ids for prompt in asked[some]], [given.ids for given in answers[some]])
        parts.append(None if part is None else torch.nn.functional.pad(part, (0, width - part.shape[1])))
    known = [part for part in undealt(parts) if part is not None]
    return torch.cat(known) if known else None


def _rewarded(config: PPOConfig, reward: Reward, scores: Tensor, answers: Sequence[Generated]) -> Tensor:
    """(B,) what the policy is rewarded for: scores, less what length foretells of them."""
    if config.length_control != "residual":
        return scores
    ended = torch.tensor([given.finish_reason != "length" for given in answers])
    tokens = torch.tensor([len(given.ids) for given in answers])
    return reward.without_length(scores, tokens - ended.long())


def _cut_cost(config: PPOConfig, scores: Tensor, answers: Sequence[Generated]) -> Tensor | None:
    """(B,) what brings the score of an answer without an end down to the fixed one; nothing where it is lower already, so that no
    answer gains by having none.
    """
    if not config.penalise_truncation:
        return None
    cut = torch.tensor([given.finish_reason == "length" for given in answers])
    return torch.where(cut, (scores - config.truncated_score).clamp(min=0), 0.0)


def _when_drawn(answers: Sequence[Generated], width: int) -> Tensor | None:
    """(B, T) the log-probabilities with which tokens were drawn; None where one answer lacks them."""
    drawn = torch.zeros(len(answers), width)
    for row, given in enumerate(answers):
        if given.logprobs is None:
            return None
        drawn[row, : len(given.ids)] = torch.tensor(given.logprobs)
    return drawn


def _begin_values(learner: Learner, config: PPOConfig, measured: Trajectory) -> Trajectory:
    """Let the value head begin at the mean return of the first rollout."""
    returns = (measured.paid_scores - learner.penalty(measured).sum(1))[: config.episodes]
    if not bool(torch.isfinite(returns).all()):
        return measured
    rise = learner.value_head.begin_at(float(returns.mean()))
    return measured._replace(values=torch.where(measured.mask, measured.values + rise, 0.0))


def _watch(check: Callable[[], None], onlooker: Onlooker | None = None, rows: Tensor | None = None) -> LayerVisit:
    """What looks on while layers run: the wish to cancel, and a reward that reads the states of these rows."""

    def visit(layer: int, states: Tensor) -> None:
        check()
        if onlooker is not None and rows is not None:
            onlooker.visit(layer, states, rows)

    return visit
