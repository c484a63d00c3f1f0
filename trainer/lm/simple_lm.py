"""The field in miniature: embedding -> LSTM -> linear, as an ordinary transformers model, with a byte or BPE tokenizer.

Importing this file registers the model with AutoConfig and AutoModelForCausalLM. It has no attention and no
`generate()`: `trainer.lm.generate` samples from it through its recurrent state. Hochreiter & Schmidhuber 1997.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutputWithPast

from trainer.lm.machine.device import HOST

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role | capitalize }}:\n{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


class SimpleLMConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of a SimpleLM; the defaults are the smallest that is of any use."""

    model_type = "simple_lm"
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "layers"}

    vocab_size: int = 1000
    embedding_size: int = 64
    hidden_size: int = 128
    layers: int = 1
    initializer_range: float = 0.1
    tie_word_embeddings: bool = False
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    pad_token_id: int | None = 2


@dataclass
class SimpleLMState:
    """What an LSTM remembers: per layer `h` and `c`, each (1, B, hidden). Takes the place of a key-value cache."""

    layers: list[tuple[Tensor, Tensor]]

    def reorder_cache(self, indices: Tensor) -> None:
        """Keep these rows, in this order, as transformers' caches do."""
        self.layers = [(h.index_select(1, indices), c.index_select(1, indices)) for h, c in self.layers]


class SimpleLM(PreTrainedModel):  # type: ignore[misc]
    """An LSTM language model. Padding on either side changes nothing: only tokens the mask marks reach the state."""

    config_class = SimpleLMConfig
    config: SimpleLMConfig
    base_model_prefix = ""

    def __init__(self, config: SimpleLMConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        widths = [config.embedding_size] + [config.hidden_size] * config.layers
        self.lstms = nn.ModuleList(nn.LSTM(width, config.hidden_size, batch_first=True) for width in widths[:-1])
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def get_output_embeddings(self) -> nn.Linear:
        return self.head

    def forward(
        self,
        input_ids: Tensor,  # (B, L)
        attention_mask: Tensor | None = None,  # (B, >= L), 1 on real tokens, which are contiguous; the last L columns count
        past_key_values: SimpleLMState | None = None,
        use_cache: bool = False,
        output_hidden_states: bool = False,
        labels: Tensor | None = None,  # (B, L), -100 where nothing is to be predicted; shifted here, as transformers does
        logits_to_keep: int = 0,  # 0 keeps all positions
        **_ignored: Any,  # position_ids and the like, which a recurrent model has no use for
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, V); on request the state after each row's last token, and every layer as hidden states."""
        length = input_ids.shape[1]
        real = None if attention_mask is None else attention_mask[:, -length:].bool()
        order = None
        if real is not None and not bool(real.all()):
            order = torch.argsort(~real, dim=1, stable=True)  # real tokens first, so that padding comes after all of them
            input_ids = input_ids.gather(1, order)
        x = self.embedding(input_ids)
        hidden, states = [x], []
        for index, lstm in enumerate(self.lstms):
            start = past_key_values.layers[index] if past_key_values is not None else None
            x, state = _run(lstm, x, start, real)
            hidden.append(x)
            states.append(state)
        if order is not None:
            back = torch.argsort(order, dim=1).unsqueeze(-1)
            hidden = [layer.gather(1, back.expand(-1, -1, layer.shape[-1])) for layer in hidden]
        logits = self.head(hidden[-1] if logits_to_keep == 0 else hidden[-1][:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=SimpleLMState(states) if use_cache else None,
            hidden_states=tuple(hidden) if output_hidden_states else None,
        )


def _run(
    lstm: nn.Module, x: Tensor, start: tuple[Tensor, Tensor] | None, real: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One layer over (B, L, width), right-padded; the state is that after each row's own last real token."""
    if real is None or bool(real.all()):
        out, state = lstm(x, start)
        return out, state
    lengths = real.sum(1).clamp(min=1).to(HOST)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    out, state = lstm(packed, start)
    return nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0], state


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: 259 ids are the bytes and three special tokens; more are BPE merges learned from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[AddedToken(token, special=True) for token in (BOS, EOS, PAD)],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, chat_template=CHAT_TEMPLATE
    )


AutoConfig.register("simple_lm", SimpleLMConfig)
AutoModelForCausalLM.register(SimpleLMConfig, SimpleLM)
