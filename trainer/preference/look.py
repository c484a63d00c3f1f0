"""A look at a policy while it trains: what it says to held-out labels, and how far from the reference its own answers are.

Knows no optimiser; what it draws it draws from the run's seed, so that looks differ by the policy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from trainer.contract.config import PreferenceConfig
from trainer.contract.memory.forecast import WRITTEN_AT_ONCE
from trainer.lm.backbone import Backbone
from trainer.lm.forward import compared_logprobs, pack
from trainer.lm.generate import Generated, generate
from trainer.lm.left_out import Name
from trainer.lm.slices import slices
from trainer.preference.data import Example
from trainer.preference.objectives import Objective, Said, budget_of

SHOWN = 5  # prompts whose answers are kept for a person to read


class Asked(NamedTuple):
    """A prompt that is answered at each look."""

    prompt_id: Name
    ids: list[int]


class Look(NamedTuple):
    """What was seen of a policy."""

    held_out: Said | None  # none where no label was held out
    kl_nats: float  # KL(policy || reference) of its answers, exact, mean over answers
    length: float  # tokens of an answer, mean
    truncated: float  # share of answers that reached the limit
    entropy: float  # nats per token
    fluency: float  # log-probability of a token under the reference, nats
    answers: list[Generated]
    kl_of_answers: list[float]

    @property
    def metrics(self) -> dict[str, float]:
        said = self.held_out
        held_out = {f"heldout/{name}": value for name, value in said.figures.items()} if said else {}
        return held_out | {
            "kl/exact_nats_per_answer": self.kl_nats,
            "rollout/length": self.length,
            "rollout/truncated": self.truncated,
            "rollout/entropy": self.entropy,
            "rollout/fluency": self.fluency,
        }


def look(
    backbone: Backbone,
    config: PreferenceConfig,
    objective: Objective[Example],
    held_out: Sequence[Example],
    asked: Sequence[Asked],
    check: Callable[[], None],
) -> Look:
    """Raises FloatingPointError where the policy's numbers are not finite."""
    said = objective.ask(held_out, False, check) if held_out else None
    answers = generate(
        backbone,
        [prompt.ids for prompt in asked],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        generator=torch.Generator().manual_seed(config.seed),
        batch_size=WRITTEN_AT_ONCE,
        check=check,
    )
    packed = pack([prompt.ids for prompt in asked], [given.ids for given in answers])
    kl, entropy, fluency, tokens = torch.zeros(len(asked)), 0.0, 0.0, 0
    for part in slices(packed.lengths, budget_of(config)):
        check()
        rows = packed.rows(part)
        found, _states = compared_logprobs(backbone, rows, config.temperature)
        kl[part] = torch.zeros(rows.mask.shape).masked_scatter_(rows.mask, found.exact_kl).sum(1)
        entropy += float(found.entropy.sum())
        fluency += float(found.ref_logprobs.sum())
        tokens += len(found.entropy)
    if not bool(torch.isfinite(kl).all()):
        raise FloatingPointError("the policy's log-probabilities are not finite")
    return Look(
        said,
        float(kl.mean()),
        tokens / len(asked),
        sum(given.finish_reason == "length" for given in answers) / len(answers),
        entropy / tokens,
        fluency / tokens,
        answers,
        kl.tolist(),
    )


def shown(step: int, seen: Look, asked: Sequence[Asked], backbone: Backbone) -> list[Mapping[str, Any]]:
    """The rows of samples.jsonl: an answer to each of some prompts at this step."""
    first: dict[Name, tuple[Generated, float]] = {}  # a prompt may be asked again
    for prompt, given, kl in zip(asked, seen.answers, seen.kl_of_answers, strict=True):
        first.setdefault(prompt.prompt_id, (given, kl))
    return [
        {
            "step": step,
            "prompt_id": prompt_id,
            "text": backbone.tokenizer.decode(given.ids, skip_special_tokens=True),
            "kl_nats": kl,
        }
        for prompt_id, (given, kl) in list(first.items())[:SHOWN]
    ]
