"""Whether answers can still be read, measured without labels: fluency, relevance, repetition, an end, the spread of words.

None of it is optimised; each only bounds (`held_out.py`). A reward that is wrong about an answer is usually wrong in a way that
one of these sees. Knows no reward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.lm.backbone import Backbone, bare_base, eos_ids
from trainer.lm.batched_reading import read
from trainer.lm.forward import llama_like, pack, response_logprobs
from trainer.lm.lm_head import token_logprobs
from trainer.lm.machine.device import HOST
from trainer.lm.prefix_tree import tree_batches
from trainer.lm.slices import Budget, slices
from trainer.ppo.rollout import Rollout

Ids = Sequence[int]

REPEATED = 4  # tokens of a passage that an answer says again


class Readability(NamedTuple):
    """n answers, in the order of their prompts."""

    fluency: Tensor  # (n,) nats per token: the answer's mean log-probability under the base
    relevance: Tensor  # (n,) nats per token of the prompt: how much likelier the base finds it after this answer than another
    repetition: Tensor  # (n,) share of 4-grams that stood in the answer before
    cut: Tensor  # (n,) 1 where the limit on tokens ended it
    words: Counter[int]  # how often each token that has a letter or a digit was written, over all answers


@torch.no_grad()
def readability(backbone: Backbone, rollout: Rollout, budget: Budget, check: Callable[[], None]) -> Readability:
    """Of the answers to held-out prompts in a rollout; within a budget where passes have to be made."""
    rows = rollout.held_out_rows
    answers, asked = rollout.answers[rows], rollout.asked[rows]
    own = rollout.measured.rows(rows)
    prompts, replies = [prompt.ids for prompt in asked], [given.ids for given in answers]
    return Readability(
        fluency=own.under_base.sum(1) / own.lengths,
        relevance=relevance(backbone, prompts, replies, budget, check),
        repetition=torch.tensor([repeated(ids, REPEATED) for ids in replies]),
        cut=torch.tensor([float(given.finish_reason == "length") for given in answers]),
        words=words_of(backbone, replies),
    )


def words_of(backbone: Backbone, answers: Sequence[Sequence[int]]) -> Counter[int]:
    """How often each token that has a letter or a digit comes: ends, lines and commas only say how long answers are."""
    counts, special = Counter(token for ids in answers for token in ids), set(backbone.tokenizer.all_special_ids)
    texts = {token: backbone.tokenizer.decode([token]) for token in counts.keys() - special - eos_ids(backbone)}
    return Counter({token: counts[token] for token, text in texts.items() if any(map(str.isalnum, text))})


def relevance(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    budget: Budget,
    check: Callable[[], None],
) -> Tensor:
    """(n,) pointwise mutual information of prompt and answer under the base, per token of the prompt that is its own.

    log p(prompt | answer) - log p(prompt), the prompt's tokens read after the answer's and after another prompt's answer: so that
    what any text before them does to them cancels. After Li et al. 2016, arXiv:1510.03055, section 3.
    """
    own = own_tokens(prompts)
    after = [own[-1], *own[:-1]]  # of the answer before, so that each answer is read with two prompts behind it
    nats = read_after(backbone, [*answers, *answers], [*own, *after], budget, check)
    with_own, with_other = nats[: len(own)], nats[len(own) :].roll(-1)
    return (with_own - with_other) / torch.tensor([len(ids) for ids in own])


def read_after(
    backbone: Backbone, before: Sequence[Ids], texts: Sequence[Ids], budget: Budget, check: Callable[[], None]
) -> Tensor:
    """(n,) nats, log-probability of each text after what stands before it, under the base. What stands before several is read
    once where layers can be run one by one.
    """
    whole = [[*first, *then] for first, then in zip(before, texts, strict=True)]
    lengths = torch.tensor(list(map(len, whole)))
    nats = torch.empty(len(whole))
    as_tree = llama_like(backbone)
    with bare_base(backbone):
        for rows in map(torch.tensor, tree_batches(whole, budget.tokens)) if as_tree else slices(lengths, budget):
            check()
            some = rows.tolist()
            if as_tree:
                nats[rows] = _along_a_tree(backbone, [whole[row] for row in some], [len(texts[row]) for row in some])
            else:
                packed = pack([before[row] for row in some], [texts[row] for row in some])
                nats[rows] = response_logprobs(backbone, packed, temperature=1.0).logprobs.sum(1)
    return nats


def _along_a_tree(backbone: Backbone, whole: Sequence[Ids], last: Sequence[int]) -> Tensor:
    """(n,) nats of so many tokens at the end of each text."""
    states = read(backbone, whole)
    before = [
        states(row, slice(len(ids) - count - 1, len(ids) - 1)) for row, (ids, count) in enumerate(zip(whole, last, strict=True))
    ]
    chosen = [torch.tensor(list(ids[len(ids) - count :])) for ids, count in zip(whole, last, strict=True)]
    logprobs, _ = token_logprobs(backbone, torch.cat(before), torch.cat(chosen).to(backbone.device), temperature=1.0)
    return torch.stack([part.sum() for part in torch.split(logprobs.to(HOST), list(last))])


def own_tokens(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The ids of each prompt without those that all begin and end with: the turns of a chat template. At least one of each."""
    shortest = min(map(len, prompts))
    first, last = prompts[0], prompts[0][::-1]
    begin = next((at for at in range(shortest) if any(ids[at] != first[at] for ids in prompts)), 0)
    end = next((at for at in range(shortest) if any(ids[len(ids) - 1 - at] != last[at] for ids in prompts)), 0)
    return [list(ids[begin : max(begin + 1, len(ids) - end)]) for ids in prompts]


def repeated(ids: Sequence[int], n: int) -> float:
    """The share of an answer's n-grams that stood in it before; 0 where it is shorter."""
    grams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
