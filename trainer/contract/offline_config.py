"""What a person may set on training from what lies there: next tokens of texts, or answers that people preferred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trainer.contract.messages import Message
from trainer.contract.sample_config import (
    HOTTEST,
    MOST_NEW_TOKENS,
    arithmetic,
    device,
    microbatch_tokens,
    recompute,
    seed,
    top_rated_too,
)
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
    microbatch_tokens: int = microbatch_tokens()
    recompute: str = recompute()
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
    device: str = device()
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


GOOD_RATING: Final = 4  # of 1 to 5: from here a rated answer is desirable to KTO
BAD_RATING: Final = 2  # up to here it is not
TOP_RATING: Final = 5  # a demonstration, where those are asked for


@dataclass(frozen=True)
class PreferenceConfig:
    """Train the policy on what people preferred, without a reward model (Rafailov et al. 2023; Ethayarajh et al. 2024)."""

    method: str = setting(
        "dpo",
        "Method",
        "DPO learns from comparisons in which one answer was preferred, and from rewrites. Length-normalised, an answer counts "
        "by the token, so that long ones are not liked for being long. KTO also learns from ratings, and from “both bad”.",
        choices={"dpo": "DPO", "dpo_normalised": "DPO, length-normalised", "kto": "KTO"},
    )
    epochs: int = setting(3, "Epochs", "Passes over the labels.", least=1, most=1000)
    learning_rate: float = setting(5e-4, "Learning rate", "The peak; linear to 0 over the run.", least=1e-9, most=1)
    batch_size: int = setting(16, "Batch size", "Comparisons, or single verdicts, per optimiser step.", least=1, most=65_536)
    microbatch: int = setting(
        8,
        "Microbatch",
        "Answers in one forward and backward pass; does not change the result.",
        "answers",
        least=2,  # a comparison
        most=65_536,
    )
    microbatch_tokens: int = microbatch_tokens()
    recompute: str = recompute()
    beta: float = setting(
        0.1,
        "KL weight β",
        "How dear it is to move away from the reference: the smaller, the further it moves for the same labels.",
        least=1e-4,
        most=100,
    )
    ptx_weight: float = setting(
        0.0,
        "Weight of demonstrations",
        "In each step the model also learns the next tokens of as many of people's rewrites as the batch has examples. This is "
        "their weight beside the loss on the labels, so that good answers do not become unlikely along with the others. With 0, "
        "no rewrites. Known as ptx.",
        least=0,
        most=1000,
    )
    ptx_top_rated: bool = top_rated_too()
    max_grad_norm: float = setting(1.0, "Largest gradient norm", "Gradients are scaled down to it.", least=0.001, most=1e6)
    temperature: float = setting(0.7, "Temperature", "Divides the logits in every log-probability.", least=0.01, most=HOTTEST)
    max_prompt_tokens: int = setting(
        128, "Longest prompt", "Labels about longer ones are left out.", "tokens", least=1, most=131_072
    )
    max_new_tokens: int = setting(
        64,
        "Longest answer while it trains",
        "Longer ones are read up to there, and so long are those that it writes when it is looked at.",
        "tokens",
        least=1,
        most=MOST_NEW_TOKENS,
    )
    looks: int = setting(
        10,
        "Looks",
        "How often, evenly over the run, held-out labels are asked and answers are written; the best look's weights are kept.",
        "looks",
        least=1,
        most=1000,
    )
    look_answers: int = setting(
        32, "Answers at each look", "To prompts it does not train on; they tell how far it moved.", "answers", least=1, most=4096
    )
    kl_stop_nats: float = setting(
        30.0,
        "Stop when it moved this far",
        "A last fence: training ends there, and nothing that moved as far is kept.",
        "nats per answer",
        least=0.01,
        most=1e6,
    )
    reference: str = setting(
        "base",
        "Measured from",
        "The model from which it is measured how far training moved.",
        choices={"base": "The base model", "start": "The model that training starts from"},
    )
    lora_rank: int = setting(16, "Rank of the adapters", "Of the low-rank matrices (LoRA).", least=1, most=1024)
    lora_layers: int = setting(4, "Adapted layers", "Counted from the top; 0 adapts every layer.", "layers", least=0, most=1000)
    dtype: str = arithmetic()
    device: str = device()
    seed: int = seed("Of sampling and order.")

    def __post_init__(self) -> None:
        check(self, ())
