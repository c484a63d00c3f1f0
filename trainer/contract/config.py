"""What a person may set on a run: one frozen dataclass per kind of run.

Standard library only, because the web form, the API, the CLI and the documentation all read these classes.
A field carries its type, default, help and unit. Unknown keys and contradictions fail in construction.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from trainer.contract.messages import Message


class ConfigError(ValueError):
    """A setting that cannot be used; `field` names it, so that a form can mark it, and `message` says what is wrong."""

    def __init__(self, field: str, message: Message) -> None:
        super().__init__(f"{field}: {message.code}")
        self.field = field
        self.message = message


def setting(default: Any, help: str, unit: str = "", choices: tuple[Any, ...] = ()) -> Any:
    """A dataclass field with the sentence a person reads beside it."""
    return field(default=default, metadata={"help": help, "unit": unit, "choices": choices})


def arithmetic() -> Any:
    """The setting for how a run computes its frozen model."""
    return setting(
        "auto",
        "Arithmetic of the frozen model. auto: bfloat16 where the processor has it and the model is large enough to be faster "
        "so, float32 elsewhere.",
        choices=("auto", "float32", "bfloat16"),
    )


@dataclass(frozen=True)
class SampleConfig:
    """Write answers for prompts."""

    per_prompt: int = setting(2, "Answers written for each prompt.", "answers")
    temperature: float = setting(0.7, "Divides the logits; lower is more predictable.")
    max_new_tokens: int = setting(64, "The longest answer.", "tokens")
    batch_size: int = setting(16, "Answers decoded together.", "answers")
    dtype: str = arithmetic()
    seed: int = setting(0, "Seeds the draw; the same seed writes the same answers.")

    def __post_init__(self) -> None:
        _choice(self, "dtype")
        _positive(self, "per_prompt", "temperature", "max_new_tokens", "batch_size")


@dataclass(frozen=True)
class RewardConfig:
    """Fit one reward to the labels so far."""

    method: str = setting(
        "auto",
        "head: a Bayesian head on the frozen base; lora: adapters and a scalar head; auto: fit both when there are enough "
        "labels and keep the better on held-out prompts; warm: refit the head from the newest reward model's, in seconds.",
        choices=("auto", "head", "lora", "warm"),
    )
    min_labels: int = setting(30, "Fewer usable labels than this are refused.", "labels")
    lora_min_labels: int = setting(1000, "With method auto, adapters are tried from this many labels.", "labels")
    folds: int = setting(5, "Held-out accuracy is cross-validated by prompt over this many folds.")
    both_bad_weight: float = setting(0.5, "How strongly 'both bad' says that both answers are low.")
    rating_weight: float = setting(1.0, "Weight of one rating beside one comparison.")
    rewrite_weight: float = setting(1.0, "Weight of a rewrite, which says that the person's own text beats the answer.")
    criteria_weights: str = setting(
        "overall=1", "What PPO is rewarded for, as 'overall=1, accuracy=0.5'; a criterion that is not named counts nothing."
    )
    reliability: str = setting(
        "auto",
        "Whether the likelihood learns how often each annotator means the other side: on, off, or auto, whichever foretells "
        "held-out comparisons better.",
        choices=("auto", "on", "off"),
    )
    leniency: bool = setting(True, "Learn each annotator's leniency and noise in ratings.")
    length_covariate: bool = setting(
        True, "Offer the head the log length and counts of words, which averages hide; the labels decide how much they weigh."
    )
    judge_share: float = setting(
        0.25,
        "Share of the prompts whose labels are kept from the reward, so that a second reward, the judge, learns from them alone "
        "and PPO's gains can be checked by somebody independent; 0 has no judge.",
    )
    judge_min_labels: int = setting(
        75, "Were the judge to learn from fewer than this, there is none, and the reward learns from all.", "labels"
    )
    pessimism: float = setting(0.0, "Posterior deviations taken off a score, so that what the labels never covered earns less.")
    lora_rank: int = setting(16, "Rank of the adapters.")
    lora_layers: int = setting(8, "Adapted layers, counted from the top.", "layers")
    learning_rate: float = setting(2e-4, "Peak learning rate of the adapters and their head.")
    epochs: int = setting(1, "Passes over the labels when adapters are trained.")
    batch_size: int = setting(8, "Comparisons per optimiser step.", "comparisons")
    max_tokens: int = setting(256, "Prompt and answer are cut to this many tokens.", "tokens")
    dtype: str = arithmetic()
    seed: int = setting(0, "Seeds folds, initial weights and order.")

    def __post_init__(self) -> None:
        _choice(self, "method", "reliability", "dtype")
        self.weights()
        _positive(
            self,
            "min_labels",
            "judge_min_labels",
            "lora_min_labels",
            "lora_rank",
            "lora_layers",
            "learning_rate",
            "epochs",
            "batch_size",
            "max_tokens",
        )
        if self.folds < 2:
            raise ConfigError("folds", Message("needs_two_folds"))
        if self.max_tokens < 16:
            raise ConfigError("max_tokens", Message("needs_room_for_an_answer", least=16))
        for name in ("both_bad_weight", "rating_weight", "rewrite_weight", "pessimism"):
            if getattr(self, name) < 0:
                raise ConfigError(name, Message("must_not_be_negative"))
        if not 0 <= self.judge_share <= 0.5:
            raise ConfigError("judge_share", Message("judge_share_too_large", most=0.5))

    def weights(self) -> dict[str, float]:
        """Criterion, or `overall`, -> its weight in PPO's reward."""
        found: dict[str, float] = {}
        for part in filter(str.strip, self.criteria_weights.split(",")):
            key, _, weight = (piece.strip() for piece in part.partition("="))
            try:
                found[key] = float(weight)
            except ValueError:
                raise ConfigError("criteria_weights", Message("weight_unreadable", part=part.strip())) from None
            if not key or not 0 <= found[key] < float("inf"):
                raise ConfigError("criteria_weights", Message("weight_unusable", part=part.strip()))
        if not any(found.values()):
            raise ConfigError("criteria_weights", Message("weights_all_zero"))
        return found


@dataclass(frozen=True)
class PPOConfig:
    """Train the policy against the reward model (Schulman et al. 2017; Ziegler et al. 2019)."""

    updates: int = setting(16, "Rollouts, each followed by its optimisation epochs.", "updates")
    episodes: int = setting(32, "Answers sampled per update.", "answers")
    answers_per_prompt: int = setting(1, "Of those, how many answer the same prompt; rloo compares them.", "answers")
    max_prompt_tokens: int = setting(128, "Longer prompts are left out.", "tokens")
    max_new_tokens: int = setting(64, "The longest answer.", "tokens")
    temperature: float = setting(0.7, "Divides the logits in every log-probability.")
    epochs: int = setting(4, "Passes over each rollout.")
    minibatches: int = setting(4, "Optimiser steps per pass.")
    microbatch: int = setting(8, "Answers in one forward and backward pass; does not change the result.", "answers")
    learning_rate: float = setting(1e-3, "Peak learning rate, linear to 0 over the run.")
    advantage: str = setting(
        "gae",
        "gae: generalised advantage estimation; reinforce: the whole return less the value head's guess; rloo: an answer's "
        "return less that of the other answers to its prompt.",
        choices=("gae", "rloo", "reinforce"),
    )
    gamma: float = setting(1.0, "Discount of later rewards.")
    gae_lambda: float = setting(0.95, "Bias-variance trade-off of gae's advantages.")
    clip: float = setting(0.2, "The ratio counts from 1 - clip to 1 + clip.")
    value_clip: float = setting(0.2, "How far a value may move from its rollout estimate.")
    vf_coef: float = setting(0.1, "Weight of the value loss.")
    max_grad_norm: float = setting(1.0, "Gradients are scaled down to this norm.")
    beta: float = setting(0.03, "Weight of the KL penalty in the reward, at the start.")
    adaptive_kl: bool = setting(True, "Move beta so that KL approaches kl_target_nats.")
    kl_target_nats: float = setting(8.0, "KL the adaptive controller aims for.", "nats per answer")
    kl_horizon: int = setting(2000, "Answers over which the controller reacts.", "answers")
    kl_stop_nats: float = setting(30.0, "The run ends, with its checkpoint, when KL passes this.", "nats per answer")
    early_stop_kl_nats: float = setting(
        0.03, "Epochs of an update stop once approx-KL per token passes 1.5 times this.", "nats per token"
    )
    entropy_floor_nats: float = setting(0.05, "The run ends when the mean entropy per token falls under this.", "nats per token")
    judge_window: int = setting(
        3,
        "The run ends when, over this many rollouts, the score has risen while the judge's, a second reward that learned from "
        "other labels, has fallen since its best; 0 never ends it.",
        "updates",
    )
    length_control: str = setting(
        "penalty",
        "What keeps answers from growing or shrinking for a better score. penalty: a price on length holds the mean near "
        "what it was; residual: what length alone foretells is taken out of the score; off: length may move, which is right "
        "where the labels are about length.",
        choices=("penalty", "residual", "off"),
    )
    length_band: float = setting(
        0.2,
        "With the penalty, a policy whose mean length left what it was by more than this share is not kept; half of it is free.",
    )
    truncated_score: float = setting(-1.0, "Score given to an answer that never ended, where penalise_truncation is on.")
    penalise_truncation: bool = setting(
        False, "Replace the score of answers without an end by truncated_score; a price on length buys part of that back."
    )
    reference: str = setting(
        "base", "What KL is measured from: the project's base model or the policy the run starts from.", choices=("base", "start")
    )
    lora_rank: int = setting(16, "Rank of the adapters.")
    lora_layers: int = setting(4, "Adapted layers, counted from the top; 0 adapts every layer.", "layers")
    panel_prompts: int = setting(5, "Prompts whose sampled answers are kept at every update for a person to read.")
    checkpoint_every: int = setting(5, "Updates between checkpoints.", "updates")
    dtype: str = arithmetic()
    seed: int = setting(0, "Seeds sampling and order.")

    def __post_init__(self) -> None:
        _choice(self, "advantage", "length_control", "reference", "dtype")
        _positive(
            self,
            "updates",
            "episodes",
            "answers_per_prompt",
            "max_prompt_tokens",
            "max_new_tokens",
            "temperature",
            "epochs",
            "minibatches",
            "microbatch",
            "learning_rate",
            "clip",
            "value_clip",
            "max_grad_norm",
            "kl_target_nats",
            "kl_horizon",
            "kl_stop_nats",
            "early_stop_kl_nats",
            "length_band",
            "lora_rank",
            "checkpoint_every",
        )
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, Message("must_lie_between", least=0, most=1))
        for name in ("minibatches", "answers_per_prompt"):
            if self.episodes % getattr(self, name):
                raise ConfigError(name, Message("must_divide", setting="ppo.episodes"))
        if self.advantage == "rloo" and self.answers_per_prompt < 2:
            raise ConfigError("answers_per_prompt", Message("rloo_compares_answers", least=2))
        for name in ("beta", "judge_window"):
            if getattr(self, name) < 0:
                raise ConfigError(name, Message("must_not_be_negative"))


@dataclass(frozen=True)
class SFTConfig:
    """Next-token training on texts or demonstrations; without a base it pretrains a SimpleLM from scratch."""

    epochs: int = setting(3, "Passes over the text, unless the held-out loss ends it before.")
    learning_rate: float = setting(
        0.0, "Peak learning rate, warmed up and then linear to 0; 0 takes 3e-3 where all weights train and 5e-4 for adapters."
    )
    batch_size: int = setting(8, "Sequences per optimiser step; short ones packed together count as one.", "sequences")
    block_tokens: int = setting(
        256, "The longest training sequence, to which short ones are packed; longer demonstrations are cut.", "tokens"
    )
    look_every: int = setting(0, "Optimiser steps between looks at the held-out loss; 0 looks ten times in the run.", "steps")
    patience: int = setting(3, "Looks in a row without a lower held-out loss that end the run; 0 never ends it early.", "looks")
    lora_rank: int = setting(16, "Rank of the adapters of a model with attention.")
    lora_layers: int = setting(8, "Adapted layers, counted from the top; 0 adapts every layer.", "layers")
    vocab_size: int = setting(1000, "Vocabulary of a new SimpleLM; 259 is bytes, more is BPE learned from the text.", "tokens")
    embedding_size: int = setting(64, "Width of a new SimpleLM's embedding.")
    hidden_size: int = setting(128, "Width of a new SimpleLM's LSTM.")
    layers: int = setting(1, "LSTM layers of a new SimpleLM.")
    seed: int = setting(0, "Seeds initial weights and order.")

    def __post_init__(self) -> None:
        _positive(self, "epochs", "batch_size", "block_tokens", "lora_rank", "embedding_size", "hidden_size", "layers")
        for name in ("learning_rate", "look_every", "patience", "lora_layers"):
            if getattr(self, name) < 0:
                raise ConfigError(name, Message("must_not_be_negative"))
        if self.block_tokens < 2:
            raise ConfigError("block_tokens", Message("needs_two_tokens", least=2))
        if self.vocab_size < 259:
            raise ConfigError("vocab_size", Message("needs_all_bytes", least=259))


RunConfig = SampleConfig | RewardConfig | PPOConfig | SFTConfig

CONFIGS: dict[str, type[SampleConfig] | type[RewardConfig] | type[PPOConfig] | type[SFTConfig]] = {
    "sample": SampleConfig,
    "reward": RewardConfig,
    "ppo": PPOConfig,
    "sft": SFTConfig,
}


def make_config(kind: str, values: dict[str, Any]) -> RunConfig:
    """Build the config of a run kind from plain JSON values.

    Raises ConfigError on an unknown kind or key, a value of the wrong type, or a contradiction.
    """
    if kind not in CONFIGS:
        raise ConfigError("kind", Message("must_be_one_of", choices=", ".join(CONFIGS)))
    cls = CONFIGS[kind]
    types = get_type_hints(cls)
    clean: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            raise ConfigError(name, Message("no_such_setting"))
        clean[name] = _typed(name, value, types[name])
    return cls(**clean)


def config_dict(config: RunConfig) -> dict[str, Any]:
    """The config as plain JSON values, every field written out."""
    return dataclasses.asdict(config)


def label_of(setting: str) -> str:
    """A setting as the pages name it: "ppo.clip" -> "Clip"; by its name where there is no such setting."""
    kind, name = ["", *setting.split(".")][-2:]
    fields = {one.name: one for one in dataclasses.fields(CONFIGS[kind])} if kind in CONFIGS else {}
    return str((name in fields and fields[name].metadata.get("label")) or humanized(name))


def humanized(name: str) -> str:
    """ "max_new_tokens" -> "Max new tokens"."""
    return name.replace("_", " ").capitalize()


_NEEDED = {
    int: Message("must_be_whole"),
    float: Message("must_be_a_number"),
    bool: Message("must_be_a_switch"),
    str: Message("must_be_text"),
}


def _typed(name: str, value: Any, wanted: Any) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted:
        raise ConfigError(name, _NEEDED[wanted])
    if wanted is float and not float("-inf") < value < float("inf"):
        raise ConfigError(name, Message("must_be_finite"))
    if wanted is int and abs(value) > 2**53:
        raise ConfigError(name, Message("too_large"))
    return value


def _positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ConfigError(name, Message("must_be_more_than", least=0))


def _choice(config: Any, *names: str) -> None:
    for field_ in dataclasses.fields(config):
        if field_.name in names and getattr(config, field_.name) not in field_.metadata["choices"]:
            raise ConfigError(field_.name, Message("must_be_one_of", choices=", ".join(field_.metadata["choices"])))
