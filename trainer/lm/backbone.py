"""One causal language model that serves as policy, reference and source of features.

Puts trainable weights on it, turns them off for the reference, and tells what its tokenizer and layers are. `loading` opens and
saves it. This file knows no loop and no disk.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.pytorch_utils import Conv1D

from trainer.contract.english import SpokenError
from trainer.contract.environment import template_ran_away
from trainer.contract.folder import UNDATED, Refused
from trainer.contract.memory.shape import LAYER_BY_LAYER
from trainer.contract.messages import Message
from trainer.lm.chat_template import first_line, plain_ids, templated_ids, turn_end
from trainer.lm.integrity.watchdog import RanAway
from trainer.lm.machine.recompute import recomputing

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Pre-norm layers on one residual stream, rotary positions, a bare linear head.
LLAMA_LIKE = LAYER_BY_LAYER
MAMBA_LIKE = {"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"}  # their fast kernels read out_proj past an adapter
LORA_ALPHA_PER_RANK = 2  # the adapters' output is scaled by 2 at every rank, so that a learning rate keeps its meaning
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)  # peft asks transformers so


class BackboneError(SpokenError):
    """The model cannot be used; the message says why and what to do, in the words of the person who named it."""


class ConversationRefused(BackboneError):
    """The model's chat template has no place for this conversation; others of the same batch may do."""


class TemplateRanAway(ConversationRefused):
    """The model's chat template did not come to an end with this conversation, and may not with others."""

    def __init__(self) -> None:
        super().__init__(template_ran_away())


@dataclass
class Backbone:
    """A causal LM in eval mode, without dropout, and its tokenizer.

    `model` is a PreTrainedModel, or a PeftModel once adapters are on it. `sha256` is of the base's weight files, adapters
    not included. `reference_weights` is a frozen copy of the trainable weights where the reference is not simply "adapters off",
    `base_weights` likewise of the base's: the same copy unless the reference is another policy.
    """

    model: Any
    tokenizer: Any
    source: str
    sha256: str
    dtype: torch.dtype
    day: date = UNDATED  # that a chat template writes: the run's, so that answers are read under the day they were written on
    reference_weights: dict[str, Tensor] | None = None
    base_weights: dict[str, Tensor] | None = None
    frozen_head: Any = None  # a vocabulary head that no training moves, laid out by trainer.lm.lm_head
    packed_layers: Any = None  # frozen layers laid out for decoding, made by trainer.lm.decoders.fused
    recompute: bool = False  # what its layers compute is not kept for gradients: trainer.lm.machine.recompute
    way: Any = None  # how answers are written with a forward that is not ours, found by trainer.lm.decoders.ways

    @property
    def plain(self) -> Any:
        """The causal LM itself, under the adapters if there are any (they live inside its layers)."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def device(self) -> torch.device:
        """Where its weights lie, and whatever meets them."""
        found: torch.device = self.plain.get_input_embeddings().weight.device
        return found

    @property
    def adapted(self) -> bool:
        return isinstance(self.model, PeftModel)

    @property
    def reference_is_base(self) -> bool:
        return self.reference_weights is self.base_weights


def attach_lora(backbone: Backbone, rank: int, layers: int, seed: int) -> None:
    """Make the policy trainable: adapters on the top `layers` layers (0 = all), which change nothing yet because B is zero.

    Hu et al. 2021, arXiv:2106.09685; every projection of a layer but those whose names peft gives to experts, the adapters'
    weights float32 whatever the trunk. A model whose layers have none (SimpleLM) trains all its weights instead, with a frozen
    copy as the reference. Adapters that are already there stay.
    """
    if backbone.adapted or backbone.reference_weights is not None:
        return
    if not takes_adapters(backbone.model):
        train_everything(backbone)
        pin_base(backbone)
        return
    path, stack = decoder_layers(backbone.model)
    first = 0 if layers == 0 else max(0, len(stack) - layers)
    indices = list(range(first, len(stack)))
    adapted = [f"{path}.{index}.{name}" for index in indices for name in _adaptable(backbone.model, stack[index])]
    config = LoraConfig(
        r=rank,
        lora_alpha=LORA_ALPHA_PER_RANK * rank,
        lora_dropout=0.0,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in stack.modules()),
        task_type="CAUSAL_LM",
        base_model_name_or_path=backbone.source,
        **_targets(backbone.model, path, adapted, indices),
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


def pin_base(backbone: Backbone, weights: dict[str, Tensor] | None = None) -> None:
    """Make the policy as it is now (or as `weights` say) the base, and the reference."""
    pin_reference(backbone, weights)
    backbone.base_weights = backbone.reference_weights


def reference(backbone: Backbone) -> contextlib.AbstractContextManager[None]:
    """Inside, the forward pass is the reference's; afterwards, also after an exception, it is the policy's again."""
    return _with_weights(backbone, backbone.reference_weights)


def bare_base(backbone: Backbone) -> contextlib.AbstractContextManager[None]:
    """Likewise the base's, whatever the reference is."""
    return _with_weights(backbone, backbone.base_weights)


@contextlib.contextmanager
def _with_weights(backbone: Backbone, weights: dict[str, Tensor] | None) -> Iterator[None]:
    if weights is not None:
        parameters = dict(named_trainable(backbone))
        live = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, parameter in parameters.items():
                parameter.data = weights[name]
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


def chat_ids(tokenizer: Any, messages: Sequence[dict[str, str]], day: date = UNDATED) -> list[int]:
    """Token ids of a conversation up to where the model begins to answer. Raises ConversationRefused where the template or
    the tokenizer cannot read it.

    Control tokens that a person typed are encoded as text, so that a prompt cannot end its own turn. A template that writes the
    date writes `day`: the same conversation has the same ids whenever it is read.
    """
    try:
        ids = plain_ids(tokenizer, messages) if tokenizer.chat_template is None else templated_ids(tokenizer, messages, day)
    except RanAway:
        raise TemplateRanAway from None
    except Refused as error:
        raise ConversationRefused(error.message) from error
    except Exception as error:  # a template is code of the model's author, and may raise anything
        raise ConversationRefused(Message("template_refuses", error=first_line(error))) from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # the tokenizer is in Rust, whose panics are no Exception
        raise ConversationRefused(Message("text_not_read", error=first_line(error))) from error
    if not ids:
        raise ConversationRefused(Message("template_says_nothing"))
    return ids


def eos_ids(backbone: Backbone) -> set[int]:
    """The ids that end an answer: the tokenizer's, those the model's own generation settings name, and the token that its chat
    template writes after what an assistant said.
    """
    settings = getattr(backbone.plain, "generation_config", None) or text_config(backbone.plain.config)
    named = settings.eos_token_id
    ids = {named} if isinstance(named, int) else set(named or ())
    return ids | {end for end in (backbone.tokenizer.eos_token_id, _turn_end(backbone)) if end is not None}


def end_id(backbone: Backbone) -> int:
    """The one token that an answer ends with where somebody has to write it. Raises BackboneError where nothing ends one."""
    own = _turn_end(backbone)
    ends = [own] if own is not None else [backbone.tokenizer.eos_token_id, *sorted(eos_ids(backbone))]
    found = next((end for end in ends if end is not None), None)
    if found is None:
        raise BackboneError(Message("model_no_end", model=backbone.source))
    return int(found)


def _turn_end(backbone: Backbone) -> int | None:
    try:
        return turn_end(backbone.tokenizer)
    except RanAway:
        raise TemplateRanAway from None


def text_config(config: Any) -> Any:
    """The part of a configuration that describes the language model: all of it, or what a multimodal model nests."""
    return config.get_text_config(decoder=True)


def context_length(backbone: Backbone) -> int | None:
    """How many tokens the model has places for; None where it sets no bound, as a recurrent one does."""
    config = text_config(backbone.plain.config)
    named = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
    return next((places for places in named if isinstance(places, int) and places > 0), None)


def layer_count(config: Any) -> int:
    """How many layers the language model has; an older configuration counts its decoder's under a name of its own."""
    own = text_config(config)
    return int(next(getattr(own, name) for name in ("decoder_layers", "num_blocks", "num_hidden_layers") if hasattr(own, name)))


def decoder_layers(model: Any) -> tuple[str, nn.ModuleList]:
    """The stack of decoder layers and its path in the model. Raises BackboneError where there is none."""
    text = model.get_decoder()
    inside = {id(module) for module in text.modules()}
    stacks = [
        (path, module) for path, module in model.named_modules() if isinstance(module, nn.ModuleList) and id(module) in inside
    ]
    outermost = [(path, stack) for path, stack in stacks if not any(path.startswith(f"{other}.") for other, _ in stacks)]
    if not outermost:
        raise BackboneError(Message("model_no_layers", architecture=type(model).__name__))
    count = layer_count(model.config)
    return next((found for found in outermost if len(found[1]) == count), max(outermost, key=lambda found: len(found[1])))


def layers_run(backbone: Backbone) -> contextlib.AbstractContextManager[None]:
    """Inside, the model's own forward keeps for gradients what is to be kept of its layers."""
    return recomputing(decoder_layers(backbone.plain)[1]) if backbone.recompute else contextlib.nullcontext()


def train_everything(backbone: Backbone) -> None:
    """Make all weights trainable, as those of a small recurrent model are."""
    backbone.model.requires_grad_(True)


def layer_by_layer(config: Any) -> bool:
    """Whether a model of this configuration can be run one layer after the other by us."""
    return config.model_type in LLAMA_LIKE and not getattr(config, "sliding_window", None)


def takes_adapters(model: Any) -> bool:
    """Whether there is something in its layers to put adapters on."""
    return any(_adaptable(model, layer) for layer in decoder_layers(model)[1])


def _adaptable(model: Any, layer: nn.Module) -> list[str]:
    """Paths in a layer of what takes an adapter."""
    bypassed = ("out_proj",) if text_config(model.config).model_type in MAMBA_LIKE else ()
    kind = str(model.config.model_type)
    linear = [name for name, module in layer.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    own = [name for name in linear if not _taken_for_experts(kind, name.rsplit(".", 1)[-1])]
    return [name for name in own if name.rsplit(".", 1)[-1] not in bypassed]


@lru_cache(maxsize=1024)
def _taken_for_experts(kind: str, name: str) -> bool:
    """Whether peft, where a linear layer of this name is meant, would adapt what the experts of every layer share."""
    probe = LoraConfig(target_modules=[name])
    try:
        convert_peft_config_for_transformers(probe, SimpleNamespace(config=SimpleNamespace(model_type=kind)), None)
    except ValueError:  # of what is one parameter by now, only a part was named
        return True
    return name not in (probe.target_modules or ())


def _targets(model: Any, path: str, adapted: list[str], indices: list[int]) -> dict[str, Any]:
    """What tells peft to adapt these modules: their last names in these layers, or whole paths where that would mean more."""
    pattern = path.rsplit(".", 1)[-1]
    names = {name.rsplit(".", 1)[-1] for name in adapted}
    alike = [
        name
        for name, _ in model.named_modules()
        if name.rsplit(".", 1)[-1] in names and any(f"{pattern}.{index}." in name for index in indices)
    ]
    if sorted(alike) != sorted(adapted):
        return {"target_modules": sorted(adapted)}
    return {"target_modules": sorted(names), "layers_to_transform": indices, "layers_pattern": pattern}


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
    for config in (plain.config, text_config(plain.config)):
        for name, value in config.to_dict().items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("_pdrop")):
                setattr(config, name, 0.0)
    own = getattr(plain, "generation_config", None)  # a SimpleLM has none
    if own is not None:
        plain.generation_config = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
        )
