"""One token at a time: the decoder that is right for a model, and the fastest that is.

This file knows neither sampling nor the end of an answer.
"""

from __future__ import annotations

from collections.abc import Collection

from trainer.lm.backbone import Backbone
from trainer.lm.decoders.decoder import Decoder
from trainer.lm.decoders.fused import FusedDecoder
from trainer.lm.decoders.own_forward import PlainDecoder
from trainer.lm.decoders.ways import way_of
from trainer.lm.forward import bare_head, llama_like


def make_decoder(backbone: Backbone, watch: Collection[int] = ()) -> Decoder:
    """The fastest decoder that is right for this model, with the policy (or inside `reference`, the reference) as it is now.

    `watch` names the layers, as indices into transformers' `hidden_states`, whose input is wanted in `seen` after every call:
    (n, tokens, D), of prompts the right-aligned tokens after the prefix that all share. Llama-like models only.

    Raises BackboneError when no way of decoding writes what the model writes alone.
    """
    if llama_like(backbone):
        return FusedDecoder(backbone, watch)
    if watch:
        raise ValueError(f"the layers of a {backbone.plain.config.model_type} cannot be watched while it writes")
    return PlainDecoder(backbone) if bare_head(backbone) else way_of(backbone)(backbone)
