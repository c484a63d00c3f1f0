"""One causal language model that serves as policy, reference and source of features.

Puts trainable weights on it, turns them off for the reference, and tells what its tokenizer and layers are. `loading` opens and
saves it. This file knows no loop and no disk.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.pytorch_utils import Conv1D

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LLAMA_LIKE = {"llama", "mistral", "qwen2"}  # pre-norm layers on one residual stream, rotary positions, a bare linear head
LORA_ALPHA_PER_RANK = 2  # the adapters' output is scaled by 2 at every rank, so that a learning rate keeps its meaning
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)  # peft asks transformers so


class BackboneError(Exception):
    """The model cannot be used; the text says why and what to do, in the words of the person who named it."""


@dataclass
class Backbone:
    """A causal LM in eval mode, without dropout, and its tokenizer.

    `model` is a PreTrainedModel, or a PeftModel once adapters are on it. `sha256` is of the base's weight files, adapters
    not included. `reference_weights` is a frozen copy of the trainable weights where the reference is not simply "adapters off".
    """

    model: Any
    tokenizer: Any
    source: str
    sha256: str
    dtype: torch.dtype
    reference_weights: dict[str, Tensor] | None = None
    frozen_head: Any = None  # a vocabulary head that no training moves, laid out by trainer.vocabulary
    packed_layers: Any = None  # frozen layers laid out for decoding, made by trainer.decode

    @property
    def plain(self) -> Any:
        """The causal LM itself, under the adapters if there are any (they live inside its layers)."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def adapted(self) -> bool:
        return isinstance(self.model, PeftModel)


def attach_lora(backbone: Backbone, rank: int, layers: int, seed: int) -> None:
    """Make the policy trainable: adapters on the top `layers` layers (0 = all), which change nothing yet because B is zero.

    Hu et al. 2021, arXiv:2106.09685; attention and MLP projections, their weights float32 whatever the trunk. A model without
    attention (SimpleLM) trains all its weights instead, with a frozen copy as the reference. Adapters that are already there
    stay.
    """
    if backbone.adapted or backbone.reference_weights is not None:
        return
    if not has_attention(backbone.model):
        train_everything(backbone)
        pin_reference(backbone)
        return
    pattern, stack = decoder_layers(backbone.model)
    first = 0 if layers == 0 else max(0, len(stack) - layers)
    linear = {name: module for name, module in stack[0].named_modules() if isinstance(module, nn.Linear | Conv1D)}
    config = LoraConfig(
        r=rank,
        lora_alpha=LORA_ALPHA_PER_RANK * rank,
        lora_dropout=0.0,
        target_modules=sorted({name.rsplit(".", 1)[-1] for name in linear}),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linear.values()),
        layers_to_transform=list(range(first, len(stack))),
        layers_pattern=pattern,
        task_type="CAUSAL_LM",
        base_model_name_or_path=backbone.source,
    )
    backbone.model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone.model = get_peft_model(backbone.model, config)
    compute_in_trunks_type(backbone.model)
    neutralise(backbone.model)


class _Factor(nn.Linear):
    """A or B of an adapter: a float32 weight, multiplied in the type of what comes in, as autocast would."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype))


def compute_in_trunks_type(model: PeftModel) -> None:
    """Let adapters compute in the trunk's type. peft widens what comes in to theirs, which costs more than their products."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False
            for factor in (*module.lora_A.values(), *module.lora_B.values()):
                factor.__class__ = _Factor


def pin_reference(backbone: Backbone, weights: dict[str, Tensor] | None = None) -> None:
    """Make the policy as it is now (or as `weights` say) the reference, instead of the bare base."""
    source = weights or dict(named_trainable(backbone))
    backbone.reference_weights = {name: source[name].detach().clone() for name, _ in named_trainable(backbone)}


@contextlib.contextmanager
def reference(backbone: Backbone) -> Iterator[None]:
    """Inside, the forward pass is the reference's; afterwards, also after an exception, it is the policy's again."""
    if backbone.reference_weights is not None:
        parameters = dict(named_trainable(backbone))
        live = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, parameter in parameters.items():
                parameter.data = backbone.reference_weights[name]
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = live[name]
    elif backbone.adapted:
        wanted = {parameter: parameter.requires_grad for parameter in backbone.model.parameters()}
        try:
            with backbone.model.disable_adapter():
                yield
        finally:  # peft marks adapters as trainable when it turns them on again, even those loaded frozen
            for parameter, flag in wanted.items():
                parameter.requires_grad_(flag)
    else:
        yield


def named_trainable(backbone: Backbone) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters that training moves, in a fixed order."""
    return ((name, parameter) for name, parameter in backbone.model.named_parameters() if parameter.requires_grad)


def trainable_parameters(backbone: Backbone) -> list[nn.Parameter]:
    """The parameters that training moves, in a fixed order."""
    return [parameter for _, parameter in named_trainable(backbone)]


def chat_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """Token ids of a conversation up to where the model begins to answer. Raises BackboneError when the template refuses it.

    Control tokens that a person typed are encoded as text, so that a prompt cannot end its own turn.
    """
    try:
        if tokenizer.chat_template is None:
            lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
            return list(tokenizer("\n".join([*lines, "Assistant:"]))["input_ids"])
        return list(
            tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
            )
        )
    except Exception as error:  # a template is code of the model's author, and may raise anything
        raise BackboneError(f"the model's chat template refuses this conversation: {error}") from error


def eos_ids(backbone: Backbone) -> set[int]:
    """The ids that end an answer: the tokenizer's and those the model's own generation settings name."""
    settings = getattr(backbone.plain, "generation_config", None) or backbone.plain.config
    named = settings.eos_token_id
    ids = {named} if isinstance(named, int) else set(named or ())
    return ids | ({backbone.tokenizer.eos_token_id} if backbone.tokenizer.eos_token_id is not None else set())


def decoder_layers(model: Any) -> tuple[str, nn.ModuleList]:
    """The stack of decoder layers and its attribute name. Raises BackboneError where there is none."""
    count = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name.rsplit(".", 1)[-1], module
    raise BackboneError(f"{type(model).__name__} has no stack of {count} decoder layers, so adapters cannot be placed")


def train_everything(backbone: Backbone) -> None:
    """Make all weights trainable, as those of a small recurrent model are."""
    backbone.model.requires_grad_(True)


def layer_by_layer(config: Any) -> bool:
    """Whether a model of this configuration can be run one layer after the other by us."""
    return config.model_type in LLAMA_LIKE and not getattr(config, "sliding_window", None)


def has_attention(model: Any) -> bool:
    """Whether adapters can be put on it."""
    return bool(getattr(model.config, "num_attention_heads", 0))


def neutralise(model: Any) -> None:
    """Eval mode, every dropout 0, and nothing of the checkpoint's sampling settings but its end-of-answer ids."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    for name, value in plain.config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("_pdrop")):
            setattr(plain.config, name, 0.0)
    own = getattr(plain, "generation_config", None)  # a SimpleLM has none
    if own is not None:
        plain.generation_config = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
        )
