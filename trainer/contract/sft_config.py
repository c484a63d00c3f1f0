"""What a person may set on next-token training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trainer.contract.messages import Message
from trainer.contract.sample_config import seed
from trainer.contract.setting import check, setting

MOST_PARAMETERS: Final = 200_000_000  # of a new SimpleLM: a few GB while it trains, and more than such a model makes use of


@dataclass(frozen=True)
class SFTConfig:
    """Next-token training on texts or demonstrations; without a base it pretrains a SimpleLM from scratch."""

    epochs: int = setting(3, "Epochs", "Passes over the text, unless the held-out loss ends it before.", least=1, most=1000)
    learning_rate: float = setting(
        0.0,
        "Learning rate",
        "The peak, warmed up and then linear to 0; with 0, 0.003 where all weights train and 0.0005 for adapters.",
        least=0,
        most=1,
    )
    batch_size: int = setting(
        8,
        "Batch size",
        "Sequences per optimiser step; short ones packed together count as one.",
        "sequences",
        least=1,
        most=4096,
    )
    block_tokens: int = setting(
        256,
        "Longest sequence",
        "Short ones are packed to it, longer answers are cut, and demonstrations whose prompt alone fills it are left out.",
        "tokens",
        least=2,  # one to read and one to predict
        most=131_072,
    )
    look_every: int = setting(
        0,
        "Look at the held-out loss every",
        "With 0, ten times in the run.",
        "steps",
        least=0,
        most=1_000_000,
    )
    patience: int = setting(
        3,
        "Patience",
        "Looks in a row without a lower held-out loss that end the run; 0 never ends it early.",
        "looks",
        least=0,
        most=1000,
    )
    lora_rank: int = setting(
        16, "Rank of the adapters", "Of the low-rank matrices (LoRA) of a model with attention.", least=1, most=1024
    )
    lora_layers: int = setting(8, "Adapted layers", "Counted from the top; 0 adapts every layer.", "layers", least=0, most=1000)
    vocab_size: int = setting(
        1000,
        "Vocabulary",
        "Of a new SimpleLM: 259 are the bytes and three special tokens, more is BPE learned from the text.",
        "tokens",
        least=259,
        most=262_144,
    )
    embedding_size: int = setting(64, "Width of the embedding", "Of a new SimpleLM.", least=1, most=16_384)
    hidden_size: int = setting(128, "Width of the LSTM", "Of a new SimpleLM.", least=1, most=16_384)
    layers: int = setting(1, "LSTM layers", "Of a new SimpleLM.", "layers", least=1, most=64)
    seed: int = seed("Of initial weights and order.")

    def __post_init__(self) -> None:
        check(self, self._contradictions())

    def _contradictions(self) -> Iterator[tuple[str, Message]]:
        if self.parameters > MOST_PARAMETERS:
            size = Message("new_model_too_large", parameters=self.parameters, most=MOST_PARAMETERS)
            yield "layers" if self.layers > 1 else "hidden_size", size

    @property
    def parameters(self) -> int:
        """Of a new SimpleLM: its embedding, its layers with four gates each, and its head."""
        hidden = self.hidden_size
        gates = 4 * hidden * (self.embedding_size + hidden + 2) + (self.layers - 1) * 4 * hidden * (2 * hidden + 2)
        return self.vocab_size * (self.embedding_size + hidden + 1) + gates
