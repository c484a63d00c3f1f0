"""How a model that does not run in our own layers writes answers: asked of the model itself, by a dozen tokens.

A recurrent state that padding reaches, or a cache that cannot drop a row, is no error that anybody sees: the answers of a batch
are simply not the model's. So each way of decoding, the fastest first, must give the logits of full passes over one prompt alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from trainer.contract.messages import Message
from trainer.lm.backbone import Backbone, BackboneError
from trainer.lm.decoders.decoder import Decoder
from trainer.lm.decoders.own_forward import LevelDecoder, PlainDecoder
from trainer.lm.forward import own_forward

Way = Callable[[Backbone], Decoder]
WAYS: dict[str, Way] = {
    "padded": PlainDecoder,
    "by length": LevelDecoder,
    "one at a time": partial(LevelDecoder, most=1),
    "by length, without a memory": partial(LevelDecoder, remembers=False),
}
PROMPTS = (3, 7, 4, 4)  # tokens
ROOM = 3
SAME = 1e-2  # of what another beginning changes in the logits; rounding is a thousandth of that, a leak all of it
SAME_NARROW = 0.3  # the same in bfloat16


def way_of(backbone: Backbone) -> Way:
    """The fastest right way, found once. Raises BackboneError, naming the architecture, where the model's forward has none."""
    if backbone.way is None:
        backbone.way = WAYS[find_way(backbone)]
    found: Way = backbone.way
    return found


@torch.no_grad()
def find_way(backbone: Backbone) -> str:
    """The name in WAYS of the fastest one whose logits are those of full passes. Raises BackboneError."""
    name = type(backbone.plain).__name__
    try:
        texts, expected, moved = _full_passes(backbone)
    except Exception as error:  # a model's own code, given nothing but token ids
        raise BackboneError(Message("model_cannot_read", model=backbone.source, architecture=name, error=str(error))) from error
    bound = moved * (SAME if backbone.dtype == torch.float32 else SAME_NARROW)
    for way, make in WAYS.items():
        try:
            if _largest_difference(make(backbone), texts, expected) <= bound:
                return way
        except Exception:  # whatever its forward raises at a mask, a position or its own memory
            continue
    raise BackboneError(Message("model_writes_otherwise", model=backbone.source, architecture=name))


def _full_passes(backbone: Backbone) -> tuple[list[list[int]], list[Tensor], float]:
    """Texts, the logits after each of their last ROOM + 1 tokens, and how far another beginning moves these."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.tensor(_ordinary(backbone))
    texts = [tokens[torch.randint(len(tokens), (length + ROOM,), generator=draw)].tolist() for length in PROMPTS]

    def alone(ids: list[int]) -> Tensor:
        logits: Tensor = own_forward(backbone.plain, input_ids=torch.tensor([ids]), use_cache=False).logits
        return logits[0, -ROOM - 1 :].float()

    other = [*(int(tokens[-1 - at]) for at in range(PROMPTS[0] - 1)), *texts[0][PROMPTS[0] - 1 :]]
    expected = [alone(text) for text in texts]
    return texts, expected, float((alone(other) - expected[0]).abs().max())


def _largest_difference(decoder: Decoder, texts: Sequence[list[int]], expected: Sequence[Tensor]) -> float:
    """Write the texts' last tokens with rows leaving and moving on the way."""
    worst = 0.0
    rows = list(range(len(texts)))
    logits = decoder.start([text[:-ROOM] for text in texts], ROOM)
    for step, kept in enumerate(([0, 1, 2, 3], [3, 1, 2], [2, 1])):
        worst = max(worst, *(float((own - expected[row][step]).abs().max()) for own, row in zip(logits, rows, strict=True)))
        rows = [rows[place] for place in kept]
        decoder.keep(kept)
        logits = decoder.step(torch.tensor([texts[row][step - ROOM] for row in rows], device=logits.device))
    return max(worst, *(float((own - expected[row][ROOM]).abs().max()) for own, row in zip(logits, rows, strict=True)))


def _ordinary(backbone: Backbone) -> list[int]:
    """Ids of words, not of anything that a model might take for the place of a picture."""
    rows = int(backbone.plain.get_input_embeddings().weight.shape[0])
    added = set(backbone.tokenizer.added_tokens_decoder)
    words = [token for token in range(min(rows, len(backbone.tokenizer))) if token not in added]
    return words or list(range(rows))
