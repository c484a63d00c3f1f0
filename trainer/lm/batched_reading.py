"""Given texts read by a model with little computed twice: how they are batched, and where each finds its hidden states.

Where layers can be run one by one, texts that begin alike share that beginning (`prefix_tree`); other models read rows of like
length, padded. What it gives is the same to rounding, with gradient where one is wanted. Knows no answer, label or reward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from trainer.lm.backbone import Backbone, layers_run
from trainer.lm.forward import llama_like, own_forward
from trainer.lm.prefix_tree import PrefixTree, tree_batches, tree_states

BATCH_TOKENS = 2048  # of one pass; changes the result by rounding alone

Text = Sequence[int]
StatesOf = Callable[[int, slice], Tensor]  # (text, its tokens) -> (n, D) states of these


def batches(backbone: Backbone, texts: Sequence[Text]) -> Iterator[list[int]]:
    """Indices of texts to be read together, about BATCH_TOKENS computed at most (one text at least)."""
    if llama_like(backbone):
        return tree_batches(texts, BATCH_TOKENS)
    return by_length([len(text) for text in texts], BATCH_TOKENS)


def read(
    backbone: Backbone,
    texts: Sequence[Text],
    visit: Callable[[int, StatesOf], None] = lambda _layer, _at: None,
    top: int | None = None,  # an index into `hidden_states`; None reads to the end
) -> StatesOf:
    """The states of texts (token ids, none empty) that transformers calls `hidden_states[top]`, read in one pass; the last ones
    are those after the final norm.

    `visit` is called with (i, `hidden_states[i]`) for i = 0..top. Where layers can be run one by one, none above `top` runs.
    """
    if llama_like(backbone):
        tree = PrefixTree(texts, backbone.device)

        def places(states: Tensor) -> StatesOf:
            return lambda text, tokens: states[tree.paths[text][tokens]]

        return places(tree_states(backbone, tree, lambda layer, states: visit(layer, places(states)), top))

    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(list(text)) for text in texts], batch_first=True)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    with layers_run(backbone):
        out = own_forward(backbone.plain, input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    layers = out.hidden_states
    layers = layers if top is None else layers[: top + 1]

    def rows(states: Tensor) -> StatesOf:
        return lambda text, tokens: states[text, : lengths[text]][tokens]

    for index, states in enumerate(layers):
        visit(index, rows(states))
    return rows(layers[-1])


def by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, each at most `max_tokens` padded tokens (one sequence at least)."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    batch: list[int] = []
    for index in order:
        if batch and lengths[index] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
