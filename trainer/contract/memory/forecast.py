"""What each kind of run takes at its peak, part by part; bench/memory.py holds it against the truth.

Everything is in bytes. A forecast is of texts and answers as long as they may be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from trainer.contract.memory.machine import Machine
from trainer.contract.memory.shape import Shape
from trainer.contract.offline_config import PreferenceConfig, SFTConfig
from trainer.contract.ppo_config import PPOConfig
from trainer.contract.reward_config import RewardConfig
from trainer.contract.sample_config import SampleConfig

MIB: Final = 2**20
GIB: Final = 2**30
PROCESS: Final = 520 * MIB  # Python, PyTorch and transformers, with nothing opened
CONTEXT: Final = 600 * MIB  # of a GPU, with PyTorch's kernels
HEAD_ROWS: Final = 256  # rows of vocabulary logits held at once
WRITTEN_AT_ONCE: Final = 64  # answers at most that a training run writes together
WRITTEN_TOKENS: Final = 16_384  # of prompts and answers that are written together; one answer at least
ROLLOUTS_FOR_LENGTH: Final = 4  # of answers before training, where their length has a price
MOST_KEPT: Final = 2 * GIB  # of states of texts that are read again
LONGEST_UNKNOWN: Final = 512  # tokens of a prompt where no setting bounds them
HEAPED: Final = 1.5  # what the allocator holds over what is alive, of blocks of many sizes that come and go
READ_LAYERS: Final = 0.3  # of the layers, whose states a reward reads: what a rollout records of each answer

Config = PPOConfig | PreferenceConfig | SFTConfig | RewardConfig | SampleConfig


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes by part, of the moment at which they are most."""

    parts: dict[str, int] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        return sum(self.parts.values())

    @property
    def gibibytes(self) -> float:
        return self.peak / GIB


@dataclass(frozen=True, slots=True)
class Work:
    """What a run does to a model, in numbers."""

    longest: int  # tokens of a text with its answer
    prompt: int  # of which are the prompt's
    read_tokens: int  # in one pass with gradients, padding counted
    written: int  # answers written together
    rank: int
    adapted: int  # layers; 0: all
    copies: int  # of what is trained, in float32: itself, gradient, optimiser, what it may go back to
    kept_tokens: int  # of answers whose states are kept until they are learned from
    kept_layers: float  # of each, states
    trains: bool = True


def forecast(config: Config, shape: Shape, machine: Machine, *, recompute: bool = False, texts: int = 0) -> Forecast:
    """`recompute` is whether layers are computed twice; `texts` how many texts are read again and again, where that is known."""
    work = work_of(config, shape, texts)
    number = number_bytes(getattr(config, "dtype", "float32"), shape, machine)
    trained = shape.parameters if shape.learns_whole else shape.adapters(work.rank, work.adapted)
    lasting = {
        "process": CONTEXT if machine.gpu else PROCESS,
        "weights": shape.parameters * number,
        "layouts": 0 if machine.gpu or not shape.ours else _layouts(config, shape, machine, number),
        "learned": trained * 4 * work.copies if work.trains else 0,
        "kept": int(work.kept_tokens * work.kept_layers * shape.width * number),
    }
    moments = {
        "writing": {"cache": _cache(work, shape, number), "activations": _prefill(work, shape, machine, number)},
        "learning": {"activations": activations(work, shape, machine, number, recompute)},
    }
    most = max(moments.values(), key=lambda parts: sum(parts.values()))
    return Forecast(lasting | most | {"logits": _logits(work, shape, machine)})


def number_bytes(dtype: str, shape: Shape, machine: Machine) -> int:
    """Of a weight: what `auto` means is known here as trainer/lm/loading.py has it."""
    if dtype == "auto":
        return 2 if shape.ours and shape.width >= 256 and (machine.bfloat16 or machine.gpu) else 4
    return 2 if dtype == "bfloat16" else 4


def work_of(config: Config, shape: Shape, texts: int = 0) -> Work:
    match config:
        case PPOConfig():
            longest = config.max_prompt_tokens + config.max_new_tokens
            rows = min(config.microbatch, config.episodes // config.minibatches)
            asked = config.episodes + max(config.panel_prompts, texts * config.heldout_answers if config.heldout_every else 0)
            before = ROLLOUTS_FOR_LENGTH * config.episodes if config.length_control == "penalty" else 0
            return Work(
                longest=longest,
                prompt=config.max_prompt_tokens,
                read_tokens=slice_tokens(longest, rows, config.microbatch_tokens),
                written=written_together(longest, max(asked, before)),
                rank=config.lora_rank,
                adapted=config.lora_layers,
                copies=11,
                kept_tokens=asked * longest,
                kept_layers=2 + READ_LAYERS * shape.layers,
            )
        case PreferenceConfig():
            longest = config.max_prompt_tokens + config.max_new_tokens
            room = MOST_KEPT // (4 * shape.width)
            return Work(
                longest=longest,
                prompt=config.max_prompt_tokens,
                read_tokens=slice_tokens(longest, config.microbatch, config.microbatch_tokens),
                written=written_together(longest, config.look_answers),
                rank=config.lora_rank,
                adapted=config.lora_layers,
                copies=8,
                kept_tokens=texts * longest if texts * longest < room else 0,
                kept_layers=1,
            )
        case SFTConfig():
            block = config.block_tokens
            read = slice_tokens(block, config.batch_size, config.microbatch_tokens)
            return Work(block, block, read, 0, config.lora_rank, config.lora_layers, 6, 0, 0)
        case RewardConfig():
            longest = config.max_tokens or 2 * LONGEST_UNKNOWN
            read = slice_tokens(longest, 2 * config.batch_size, config.microbatch_tokens)
            return Work(longest, longest, read, 0, config.lora_rank, config.lora_layers, 5, 0, 0)
        case SampleConfig():
            longest = LONGEST_UNKNOWN + config.max_new_tokens
            written = min(config.batch_size, written_together(longest, config.batch_size))
            return Work(longest, LONGEST_UNKNOWN, 0, written, 0, 0, 0, 0, 0, trains=False)


def slice_tokens(longest: int, rows: int, tokens: int) -> int:
    """Of a pass over texts as long as they may be."""
    return longest * max(1, min(rows, tokens // longest))


def written_together(longest: int, answers: int) -> int:
    return max(1, min(WRITTEN_AT_ONCE, answers, WRITTEN_TOKENS // longest))


def activations(work: Work, shape: Shape, machine: Machine, number: int, recompute: bool) -> int:
    """Of one pass with gradients: of every layer that learns what its backward pass reads, or its input and one layer's all."""
    each = 8 * shape.width + 4 * shape.inner + 7 * work.rank + _scores(shape, machine, work.longest)  # numbers of a token
    layers = shape.adapted(work.adapted)
    numbers = layers * shape.width + each if recompute else layers * each
    return int(HEAPED * work.read_tokens * numbers * number)


def _scores(shape: Shape, machine: Machine, seen: int) -> int:
    """Numbers of a token's attention that are kept: PyTorch's own on a GPU keeps none."""
    return 0 if machine.gpu else shape.heads * seen


def _layouts(config: Config, shape: Shape, machine: Machine, number: int) -> int:
    """Copies of the layers, where answers are written, and of the vocabulary's head and its transpose."""
    each = 2 if machine.halves and shape.sixteen_bits else number
    layers = shape.layers * shape.of_layer if not isinstance(config, SFTConfig | RewardConfig) else 0
    heads = 0 if isinstance(config, RewardConfig) else 1 if isinstance(config, SampleConfig) else 2
    return (layers + heads * shape.of_head) * each


def _cache(work: Work, shape: Shape, number: int) -> int:
    return work.written * work.longest * shape.layers * 2 * shape.kv_heads * shape.head_width * number


def _prefill(work: Work, shape: Shape, machine: Machine, number: int) -> int:
    """Prompts read together before their answers are written."""
    each = 8 * shape.width + 4 * shape.inner + 4 * _scores(shape, machine, work.prompt)
    return work.written * work.prompt * each * number


def _logits(work: Work, shape: Shape, machine: Machine) -> int:
    """Of a slice, three times over (of the whole pass where a model's own forward makes them), and copies of the head while it is
    laid out.
    """
    rows = HEAD_ROWS if shape.ours else max(work.read_tokens, work.written * work.prompt)
    laying = 0 if machine.gpu or not shape.ours else 6 * shape.of_head
    return 3 * 4 * rows * shape.vocabulary + laying
