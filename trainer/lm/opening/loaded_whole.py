"""A model as transformers opens it, with what transformers reports of it read: nothing random, nothing left over, all fitting.

Raises BackboneError alone, whatever the libraries raise.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from trainer.lm.backbone import BackboneError
from trainer.lm.forward import own_forward

# What a file may hold beside the language model without being another model: buffers that are computed today, heads and towers
# that text does not pass.
BESIDE = re.compile(
    r"inv_freq$|attn\.(masked_)?bias$|^(model\.)?(v_head|value_head|mtp|visual|vision|audio|multi_modal_projector)"
)
NO_TEXT = re.compile(r"image|audio|video|vision", re.IGNORECASE)  # tokens in whose place something else is put
CAUSAL = 1e-3  # of the largest logit; rounding stays under a tenth of that in float32
CAUSAL_NARROW = 0.1  # the same in bfloat16


def class_for(source: str, config: Any) -> Any:
    """The Auto class that makes a language model of this configuration; one that also sees reads text alone here."""
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not config.is_encoder_decoder:
        return AutoModelForImageTextToText
    raise BackboneError(
        f"{source} is a {config.model_type} model, and transformers has no causal language model of that kind: it does not write "
        "on from what it has read"
    )


def refuse_incomplete(source: str, model: Any, report: dict[str, Any]) -> None:
    """Read what transformers says of the tensors it found; tied weights, and what it knows to be harmless, it leaves out."""
    whole = [name for name in model.state_dict() if name not in getattr(model, "all_tied_weights_keys", {})]
    missing = [name for name in whole if name in report["missing_keys"]]
    missing += sorted(set(report["missing_keys"]) - set(missing))
    surplus = sorted(name for name in report["unexpected_keys"] if not BESIDE.search(name))
    named = ", ".join(getattr(model.config, "architectures", None) or ())
    if missing:
        other = named and type(model).__name__ not in named
        hint = _why_missing(missing, surplus) or (f"; config.json names {named}, which is another model" if other else "")
        raise BackboneError(f"{source} lacks {len(missing)} of {len(whole)} tensors, the first {missing[0]}{hint}")
    if report["mismatched_keys"]:
        name, held, wanted = min(report["mismatched_keys"])
        raise BackboneError(f"{source}: {name} is {_sizes(held)} in the file and {_sizes(wanted)} by its config.json")
    if surplus:
        raise BackboneError(
            f"{source} holds {len(surplus)} tensors for which a {type(model).__name__} has no place, the first {surplus[0]}: "
            f"its config.json describes another model than its weights{f' ({named})' if named else ''}"
        )


def refuse_misfit(source: str, model: Any, tokenizer: Any, named: int | None = None) -> None:
    """Every token that may come needs an embedding. `named`: how many the file itself names, where transformers may add some."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    template = str(tokenizer.chat_template or "")
    without = {token: at for token, at in tokenizer.get_vocab().items() if at >= rows}
    may_come = [token for token, at in without.items() if (named is None or at < named) and not NO_TEXT.search(token)]
    heard = may_come or [token for token in without if token in template]
    if heard:
        raise BackboneError(
            f"{source}: the tokenizer has {max(len(tokenizer), *without.values())} tokens and the model {rows} embeddings, so "
            f"{heard[0]} has none: resize the model's embeddings, or take the tokenizer it was trained with"
        )


@torch.no_grad()
def refuse_two_way(source: str, model: Any) -> None:
    """What follows a token must not change what the model thinks before it, or it cannot write."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    ids = (torch.arange(11) * 7 + 3) % rows
    ids = ids[None].to(model.device)
    other = ids.clone()
    other[:, 5:] = (ids[:, 5:] + 1) % rows
    outs = [own_forward(model, input_ids=each, use_cache=False, output_hidden_states=True) for each in (ids, other)]
    states = (outs[0].get("hidden_states") or [outs[0].logits[:, :0]])[-1]
    if outs[0].logits.shape[:2] != ids.shape or states.shape[:2] != ids.shape:
        raise BackboneError(
            f"{source}: a {type(model).__name__} does not tell what it thinks at each token, so it cannot be used"
        )
    before, after = (out.logits[:, :5].float() for out in outs)
    bound = CAUSAL if next(model.parameters()).dtype == torch.float32 else CAUSAL_NARROW
    if float((before - after).abs().max()) > bound * float(before.abs().max()):
        raise BackboneError(
            f"{source}: a {type(model).__name__} reads both ways, what follows changes what it thinks of what went before, so it "
            "is no causal language model and cannot write answers"
        )


@contextlib.contextmanager
def explained(source: str) -> Iterator[None]:
    """Turn whatever opening a model raises into one sentence for the person who named it."""
    try:
        yield
    except (BackboneError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # libraries in Rust raise panics, which are no Exception
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        said = lines[0] if lines else type(error).__name__
        if isinstance(error, MemoryError) or "can't allocate memory" in said:
            said = "there is not enough memory for it"
        raise BackboneError(f"{source} could not be opened as a causal language model: {said}") from error


def _why_missing(missing: list[str], surplus: list[str]) -> str:
    """That the tensors are there under longer names, as torch.compile and data-parallel training leave them."""
    for name in surplus:
        wanted = next((each for each in missing if name.endswith(f".{each}")), None)
        if wanted is not None:
            return f"; its keys begin with {name.removesuffix(wanted)}"
    return ""


def _sizes(shape: Any) -> str:
    return " by ".join(map(str, shape)) or "one number"
