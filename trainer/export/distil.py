"""A head on pooled states taught to a sequence classifier: adapters and a linear head on the end token learn its scores.

The classifier is what other programs can open; the head is what few labels can teach. How much is lost on the way is measured
on answers to prompts that the student never saw. Hinton et al. 2015, arXiv:1503.02531, for a regression. It learns from no label;
where people compared answers to those prompts, it says how often the student prefers what they did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.contract.english import english
from trainer.contract.folder import Refused
from trainer.contract.messages import Message
from trainer.lm.backbone import Backbone, attach_lora, trainable_parameters
from trainer.lm.left_out import LeftOut
from trainer.reward.adapter import end_states
from trainer.reward.data import Comparison, Labels, TokenSequence, encode_labels, folds
from trainer.reward.scorer import Scorer
from trainer.reward.validation import correlation

FOLDS = 5  # one of them is held out
FEWEST_ANSWERS = 40
EPOCHS = 6
BATCH = 16
RANK, LAYERS = 16, 8
RATE = 6e-4
HEAD_RATE = 10  # the head learns faster than the adapters by this factor
RIDGE = 0.1  # of the mean variance of a state's dimension, times the answers
MAX_GRAD_NORM = 1.0
SEED = 0


class Student(NamedTuple):
    """A classifier's parts; its score of an answer is `state of the end token @ head - offset`."""

    backbone: Backbone  # its adapters merged
    head: Tensor  # (D,)
    offset: float
    fidelity: dict[str, Any]


def distil(scorer: Scorer, labels: Labels, say: Callable[[str], None]) -> Student:
    """Teach the scorer's scores of the labels' answers to adapters over its own base, which are attached here.

    Raises Refused when there are too few answers to learn from and to measure on.
    """
    backbone = scorer.backbone
    left_out = LeftOut()
    labels, sequences = encode_labels(backbone, labels, scorer.max_tokens, left_out)
    answers = labels.answers
    if len(answers) < FEWEST_ANSWERS:
        raise Refused(Message("too_few_answers", answers=len(answers), needed=FEWEST_ANSWERS))
    if (told := left_out.said()) is not None:
        say(english(told))
    wanted = scorer.score(
        [one.prompt_ids for one in sequences], [one.response_ids for one in sequences], [one.cut for one in sequences]
    )
    fold = folds([answer.prompt_key for answer in answers], FOLDS, SEED)
    learned = [index for index, answer in enumerate(answers) if fold[answer.prompt_key] != 0]
    held = [index for index, answer in enumerate(answers) if fold[answer.prompt_key] == 0]
    if not held or not learned:
        raise Refused(Message("one_prompt_only"))
    attach_lora(backbone, RANK, LAYERS, SEED)
    head, offset = _regression(backbone, [sequences[index] for index in learned], wanted[learned])
    _train(backbone, head, offset, [sequences[index] for index in learned], wanted[learned], say)
    with torch.no_grad():
        found = end_states(backbone, [sequences[index] for index in held]) @ head - offset
    fidelity = _fidelity(found, wanted[held], [answers[index].prompt_key for index in held])
    fidelity |= _agreement_with_people(dict(zip(held, found.tolist(), strict=True)), labels.comparisons)
    say(
        f"On {fidelity['fidelity_answers']} held-out answers: correlation {fidelity['fidelity_correlation']:.3f}, "
        f"the same preference in {fidelity['fidelity_agreement']:.0%} of {fidelity['fidelity_pairs']} pairs"
    )
    merged = Backbone(backbone.model.merge_and_unload(), backbone.tokenizer, "", "", backbone.dtype)
    return Student(merged, head.detach(), float(offset.detach()), {"distilled_on": len(learned), **fidelity})


def _regression(backbone: Backbone, sequences: Sequence[TokenSequence], wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where training starts: ridge regression of the scores on the frozen base's end states. Head (D,) and offset ()."""
    with torch.no_grad():
        states = end_states(backbone, sequences).double()
    centred = states - states.mean(0)
    gram = centred.T @ centred
    ridge = RIDGE * gram.diagonal().mean().clamp(min=1e-6) * torch.eye(len(gram), dtype=gram.dtype)
    head = torch.linalg.solve(gram + ridge, centred.T @ (wanted.double() - wanted.double().mean()))
    offset = states.mean(0) @ head - wanted.double().mean()
    return head.float().requires_grad_(), offset.float().requires_grad_()


def _train(
    backbone: Backbone,
    head: Tensor,
    offset: Tensor,
    sequences: Sequence[TokenSequence],
    wanted: Tensor,  # (N,) scores
    say: Callable[[str], None],
) -> None:
    """Least squares by Adam, in place; the rate falls linearly to 0."""
    weights = trainable_parameters(backbone)
    optimiser = torch.optim.Adam([{"params": weights, "lr": RATE}, {"params": [head, offset], "lr": RATE * HEAD_RATE}])
    rates = [group["lr"] for group in optimiser.param_groups]
    generator = torch.Generator().manual_seed(SEED)
    orders = [torch.randperm(len(sequences), generator=generator) for _ in range(EPOCHS)]
    batches = [order[at : at + BATCH] for order in orders for at in range(0, len(sequences), BATCH)]
    for step, batch in enumerate(batches):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - step / len(batches))
        found = end_states(backbone, [sequences[index] for index in batch.tolist()]) @ head - offset
        loss = (found - wanted[batch]).square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*weights, head, offset], MAX_GRAD_NORM)
        optimiser.step()
        if (step + 1) % max(1, len(batches) // 10) == 0:
            say(f"[{step + 1}/{len(batches)}] mean squared difference {float(loss.detach()):.3f}")


def _fidelity(found: Tensor, wanted: Tensor, prompts: Sequence[str]) -> dict[str, Any]:
    """How close student and teacher are on held-out answers: correlation, and how often they prefer the same one of two.

    `fidelity_agreement` is over pairs of answers to the same prompt where there are any, else over all pairs.
    """
    pairs = list(combinations(range(len(prompts)), 2))
    same = [pair for pair in pairs if prompts[pair[0]] == prompts[pair[1]]] or pairs
    left, right = (torch.tensor(side) for side in zip(*same, strict=True))
    agree = ((found[left] - found[right]) * (wanted[left] - wanted[right])) > 0
    return {
        "fidelity_answers": len(prompts),
        "fidelity_correlation": correlation(found.double(), wanted.double()) or 0.0,
        "fidelity_pairs": len(same),
        "fidelity_agreement": float(agree.float().mean()),
    }


def _agreement_with_people(scores: Mapping[int, float], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Of people's verdicts on held-out answers, how many the student shares; nothing where there are none."""
    decided = [
        label
        for label in comparisons
        if label.source == "verdict" and label.choice in ("left", "right") and {label.left, label.right} <= scores.keys()
    ]
    if not decided:
        return {}
    shared = sum((scores[label.left] > scores[label.right]) == (label.choice == "left") for label in decided)
    return {"held_out_verdicts": len(decided), "held_out_accuracy": shared / len(decided)}
