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

from trainer.contract.english import SpokenError
from trainer.contract.messages import Message
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
    raise BackboneError(Message("model_not_causal", model=source, kind=str(config.model_type)))


def refuse_incomplete(source: str, model: Any, report: dict[str, Any]) -> None:
    """Read what transformers says of the tensors it found; tied weights, and what it knows to be harmless, it leaves out."""
    whole = [name for name in model.state_dict() if name not in getattr(model, "all_tied_weights_keys", {})]
    missing = [name for name in whole if name in report["missing_keys"]]
    missing += sorted(set(report["missing_keys"]) - set(missing))
    surplus = sorted(name for name in report["unexpected_keys"] if not BESIDE.search(name))
    named = ", ".join(getattr(model.config, "architectures", None) or (model.config.model_type,))
    if missing:
        raise BackboneError(_lacks(source, model, missing, len(whole), surplus, named))
    if report["mismatched_keys"]:
        name, held, wanted = min(report["mismatched_keys"])
        raise BackboneError(Message("tensors_resized", model=source, first=name, held=_sizes(held), wanted=_sizes(wanted)))
    if surplus:
        kind, first = type(model).__name__, surplus[0]
        raise BackboneError(
            Message("tensors_surplus", model=source, surplus=len(surplus), architecture=kind, first=first, named=named)
        )


def refuse_misfit(source: str, model: Any, tokenizer: Any, named: int | None = None) -> None:
    """Every token that may come needs an embedding. `named`: how many the file itself names, where transformers may add some."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    template = str(tokenizer.chat_template or "")
    without = {token: at for token, at in tokenizer.get_vocab().items() if at >= rows}
    may_come = [token for token, at in without.items() if (named is None or at < named) and not NO_TEXT.search(token)]
    heard = may_come or [token for token in without if token in template]
    if heard:
        tokens = max(len(tokenizer), *without.values())
        raise BackboneError(Message("tokens_without_embedding", model=source, tokens=tokens, rows=rows, first=heard[0]))


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
        raise BackboneError(Message("model_hides_states", model=source, architecture=type(model).__name__))
    before, after = (out.logits[:, :5].float() for out in outs)
    bound = CAUSAL if next(model.parameters()).dtype == torch.float32 else CAUSAL_NARROW
    if float((before - after).abs().max()) > bound * float(before.abs().max()):
        raise BackboneError(Message("model_reads_both_ways", model=source, architecture=type(model).__name__))


@contextlib.contextmanager
def explained(source: str) -> Iterator[None]:
    """Turn whatever opening a model raises into one sentence for the person who named it."""
    try:
        yield
    except BackboneError:
        raise
    except SpokenError as error:
        raise BackboneError(error.message) from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # libraries in Rust raise panics, which are no Exception
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        said = lines[0] if lines else type(error).__name__
        if is_lack_of_memory(error):
            raise BackboneError(Message("model_too_large", model=source)) from error
        if "trust_remote_code" in str(error):
            raise BackboneError(Message("model_needs_code", model=source)) from error
        raise BackboneError(Message("model_not_opened", model=source, error=said)) from error


def is_lack_of_memory(error: BaseException) -> bool:
    """By whichever of the ways in which Python and torch say so."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _lacks(source: str, model: Any, missing: list[str], tensors: int, surplus: list[str], named: str) -> Message:
    """What is missing, and why where that can be seen: torch.compile and data-parallel training leave longer names."""
    count, first = len(missing), missing[0]
    for name in surplus:
        wanted = next((each for each in missing if name.endswith(f".{each}")), None)
        if wanted is not None:
            prefix = name.removesuffix(wanted)
            return Message("tensors_missing_renamed", model=source, missing=count, tensors=tensors, first=first, prefix=prefix)
    if type(model).__name__ not in named:
        return Message("tensors_missing_another", model=source, missing=count, tensors=tensors, first=first, named=named)
    return Message("tensors_missing", model=source, missing=count, tensors=tensors, first=first)


def _sizes(shape: Any) -> str:
    return " × ".join(map(str, shape)) or "1"
