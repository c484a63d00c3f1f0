"""What a person may set on a run that writes answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from trainer.contract.setting import MOST_WHOLE, check, setting

MOST_NEW_TOKENS: Final = 32_768
MOST_DRAWN: Final = 16  # answers for one that is kept; the more, the more it is errors of the reward that are found
HOTTEST: Final = 2.0  # above it, what a model writes is noise


def arithmetic() -> Any:
    """The setting for how a run computes its frozen model."""
    return setting(
        "auto",
        "Arithmetic of the frozen model",
        "Automatic: bfloat16 where the device has it and the model is large enough to be faster so, float32 elsewhere.",
        choices={"auto": "Automatic", "float32": "float32", "bfloat16": "bfloat16"},
    )


def device() -> Any:
    """The setting for what a run computes on."""
    return setting(
        "auto",
        "Device",
        "Automatic: the GPU where there is one, else the processor.",
        choices={"auto": "Automatic", "cpu": "Processor", "cuda": "GPU"},
    )


def microbatch_tokens() -> Any:
    """The setting for how many tokens one pass holds, whatever the texts' number."""
    return setting(
        2048,
        "Tokens in a microbatch",
        "Of prompts and answers in one forward and backward pass, padding counted; a single text may be longer. Fewer take less "
        "memory. Does not change the result.",
        "tokens",
        least=1,
        most=1_000_000,
    )


def recompute() -> Any:
    """The setting for what is kept of a forward pass until its gradients are computed."""
    return setting(
        "auto",
        "Compute layers twice",
        "Of each layer only its input is kept for the backward pass, and the rest computed again there: a third slower, with far "
        "less memory. Automatic: where a run would not fit otherwise. Known as gradient checkpointing.",
        choices={"auto": "Automatic", "on": "On", "off": "Off"},
    )


def seed(help: str) -> Any:
    return setting(0, "Seed", help, least=0, most=MOST_WHOLE)


def top_rated_too() -> Any:
    """The setting for what counts as a demonstration where a run learns from some beside."""
    return setting(
        False,
        "Learn from top-rated answers, too",
        "Where demonstrations have a weight: answers that people rated 5 count as such beside their rewrites, unless the limit "
        "on their length cut them.",
    )


def per_prompt() -> Any:
    """The setting for how many answers there are to compare."""
    return setting(
        2,
        "Answers to each prompt",
        "People compare the answers to one prompt. More give more to compare, and take longer to write.",
        "answers",
        least=1,
        most=1000,
        group="answers",
    )


def variety() -> Any:
    """The setting for how much answers differ."""
    return setting(
        0.7,
        "Variety",
        "Low: nearly the same safe answer each time, with little to choose between. High: more surprising answers, and more that "
        "fall apart. The field calls it temperature.",
        least=0.01,
        most=HOTTEST,
        group="answers",
    )


def longest_answer() -> Any:
    """The setting for where an answer is cut."""
    return setting(
        64,
        "Longest answer",
        "An answer is cut there, in the middle of a sentence if need be, and people judge what is left. A token is a short word "
        "or a part of one, in Chinese about one sign.",
        "tokens",
        least=1,
        most=MOST_NEW_TOKENS,
        group="answers",
    )


@dataclass(frozen=True)
class SampleConfig:
    """Write answers for prompts."""

    per_prompt: int = per_prompt()
    temperature: float = variety()
    max_new_tokens: int = longest_answer()
    batch_size: int = setting(
        16, "Batch size", "Answers decoded together: more are faster and take more memory.", "answers", least=1, most=4096
    )
    best_of: int = setting(
        1,
        "Best of",
        "So many answers are drawn for each that is kept, the one that the reward model scores highest. Writing takes as many "
        "times as long. With 1, or while no reward model beats guessing, every answer is kept as it is drawn. A round's own "
        "answers always are.",
        "answers",
        least=1,
        most=MOST_DRAWN,
    )
    dtype: str = arithmetic()
    device: str = device()
    seed: int = seed("The same seed draws the same answers.")

    def __post_init__(self) -> None:
        check(self, ())


@dataclass(frozen=True)
class AskConfig:
    """Have a model outside answer prompts. Variety and longest answer are those of our own answers, so that neither shows."""

    per_prompt: int = per_prompt()
    temperature: float = variety()
    max_new_tokens: int = longest_answer()
    at_once: int = setting(4, "Requests at once", "More are faster, and some services refuse them.", "requests", least=1, most=64)
    timeout_s: float = setting(
        120.0, "Longest wait", "An answer that takes longer is asked for again.", "seconds", least=1, most=3600
    )

    def __post_init__(self) -> None:
        check(self, ())
