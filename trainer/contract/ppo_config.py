"""What a person may set on the training of a policy against a reward model."""

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
from trainer.contract.setting import SHARE, ConfigError, check, setting, weights_by_name

FEWEST_WATCHED: Final = 4  # held-out prompts, under which their answers say nothing
STOPS_AT: Final = 2.0  # targets, where no other limit is set
MOST_OUTSIDE: Final = 10.0  # weight of a reward outside of the model


@dataclass(frozen=True)
class PPOConfig:
    """Train the policy against the reward model (Schulman et al. 2017; Ziegler et al. 2019)."""

    updates: int = setting(
        16,
        "Steps of training",
        "In each step the model writes answers, the reward model scores them, and the model changes a little. More steps change "
        "it more and take longer.",
        "updates",
        least=1,
        most=100_000,
        group="change",
    )
    episodes: int = setting(
        32,
        "Answers in each step",
        "From more answers a step knows better which way to go, and takes longer.",
        "answers",
        least=1,
        most=65_536,
        group="change",
    )
    answers_per_prompt: int = setting(
        1, "Answers to the same prompt", "Of those of a step; RLOO and GRPO compare them.", "answers", least=1, most=1024
    )
    max_prompt_tokens: int = setting(
        128,
        "Longest prompt",
        "The model does not train on longer prompts. It still answers them for people.",
        "tokens",
        least=1,
        most=131_072,
        group="length",
    )
    max_new_tokens: int = setting(
        64,
        "Longest answer while it trains",
        "Shorter is faster. Should be no less than the longest answer that people read, else it never trains on how those end.",
        "tokens",
        least=1,
        most=MOST_NEW_TOKENS,
        group="length",
    )
    temperature: float = setting(0.7, "Temperature", "Divides the logits in every log-probability.", least=0.01, most=HOTTEST)
    epochs: int = setting(4, "Epochs", "Passes over each rollout.", least=1, most=1000)
    minibatches: int = setting(4, "Minibatches", "Optimiser steps per pass.", least=1, most=65_536)
    microbatch: int = setting(
        8,
        "Microbatch",
        "Answers in one forward and backward pass; does not change the result.",
        "answers",
        least=1,
        most=65_536,
    )
    microbatch_tokens: int = microbatch_tokens()
    recompute: str = recompute()
    learning_rate: float = setting(1e-3, "Learning rate", "The peak; linear to 0 over the run.", least=1e-9, most=1)
    advantage: str = setting(
        "gae",
        "Advantages",
        "GAE: generalised advantage estimation. REINFORCE: the whole return less the value head's guess. RLOO: an answer's "
        "return less that of the other answers to its prompt. GRPO: less that of all of them, over their deviation.",
        choices={"gae": "GAE", "rloo": "RLOO", "grpo": "GRPO", "reinforce": "REINFORCE"},
    )
    gamma: float = setting(1.0, "Discount γ", "Of later rewards.", least=0, most=1)
    gae_lambda: float = setting(0.95, "GAE λ", "Bias-variance trade-off of GAE's advantages.", least=0, most=1)
    partial_scores: bool = setting(
        False,
        "Pay while an answer is written",
        "What the reward model makes of the tokens that are there is paid as they come, and taken back at the end, so that a "
        "whole answer earns the same. The model learns much faster what earns a score, the reward model's mistakes among it. "
        "Only where the reward is a head. Known as potential-based shaping; GAE alone gains by it.",
    )
    clip: float = setting(0.2, "Clip range ε", "The ratio counts from 1 − ε to 1 + ε.", least=0.001, most=10)
    sampler_weight_cap: float = setting(
        2.0,
        "Cap on sampler weights",
        "Where answers were drawn from another distribution than training measures, by more than rounding, each token counts by "
        "its likelihood in training over that when it was drawn, at most this much. With 0, every token counts the same.",
        least=0,
        most=100,
    )
    value_clip: float = setting(
        0.2, "Clip range of values", "How far a value may move from its rollout estimate.", least=0.001, most=1000
    )
    vf_coef: float = setting(0.1, "Weight of the value loss", "Beside the policy loss, which has weight 1.", least=0, most=100)
    ptx_weight: float = setting(
        0.0,
        "Weight of demonstrations",
        "In each step the model also learns the next tokens of as many of people's rewrites as the step has answers. This is "
        "their weight beside the policy loss, so that what people wrote is not unlearned for what scores. With 0, no rewrites. "
        "Known as ptx.",
        least=0,
        most=1000,
    )
    ptx_top_rated: bool = top_rated_too()
    max_grad_norm: float = setting(1.0, "Largest gradient norm", "Gradients are scaled down to it.", least=0.001, most=1e6)
    beta: float = setting(0.03, "KL weight β", "Weight of the KL penalty in the reward, at the start.", least=0, most=100)
    adaptive_kl: bool = setting(True, "Adapt the KL weight", "Move β so that KL approaches what the model may move.")
    kl_target_nats: float = setting(
        6.0,
        "How far the model may move",
        "Training pulls the model back when its answers drift further than this from what the model it is measured from would "
        "write. Small: careful, close to what it was. Large: bold, and more likely to please the reward model by tricks. The "
        "field calls it KL divergence.",
        "nats per answer",
        least=0.01,
        most=1000,
        group="change",
    )
    kl_controller: str = setting(
        "steered",
        "How β is adapted",
        "Steered: at once and by factors, and a model that moved too far is taken back part of the way, so that training ends "
        "near how far it may move. Ziegler et al. 2019: slowly, over the horizon.",
        choices={"steered": "Steered", "ziegler": "Ziegler et al. 2019"},
    )
    kl_horizon: int = setting(
        2000, "KL horizon", "Answers over which β reacts, as Ziegler et al. adapt it.", "answers", least=1, most=10_000_000
    )
    kl_stop_nats: float = setting(
        0.0,
        "Stop when it moved this far",
        "A last fence: training ends there, and the step before is kept. With 0, at twice how far the model may move.",
        "nats per answer",
        least=0,
        most=1e6,
        group="change",
    )
    base_budget_nats: float = setting(
        30.0,
        "How far it may be from the base",
        "After several rounds, each measured from where it began. Beyond this, training is drawn back towards the base, the more "
        "the further, and goes on.",
        "nats per answer",
        least=0.01,
        most=1e6,
        group="change",
    )
    early_stop_kl_nats: float = setting(
        0.03,
        "KL of one update",
        "Epochs of an update stop once approx-KL per token passes 1.5 times this.",
        "nats per token",
        least=1e-6,
        most=1e6,
    )
    entropy_floor_nats: float = setting(
        0.05,
        "Entropy floor",
        "The run ends when the mean entropy per token falls under this; below 0 it never does.",
        "nats per token",
        least=-1,
        most=100,
    )
    judge_window: int = setting(
        3,
        "Stop when the independent check disagrees",
        "Training ends when over so many steps the score rose while the judge, which learned from other labels, scored the "
        "answers lower. With 0 it never does.",
        "updates",
        least=0,
        most=1000,
        group="change",
    )
    heldout_every: int = setting(
        4,
        "Ask held-out prompts every",
        "The model answers prompts that it is not trained on. The last step is kept unless an earlier one surely did better on "
        "them, and training ends where answers can no longer be read as before. With 0, or with fewer than four such prompts, "
        "nobody watches.",
        "updates",
        least=0,
        most=100_000,
    )
    heldout_answers: int = setting(
        4,
        "Answers to each held-out prompt",
        "Each time they are asked. From more, what ends training or finds its best step is surer, and takes longer.",
        "answers",
        least=1,
        most=64,
    )
    fluency_fall_nats: float = setting(
        0.5,
        "How much less fluent answers may become",
        "The run ends when the base model finds answers to held-out prompts less likely than the first ones by more than this.",
        "nats per token",
        least=0,
        most=1000,
    )
    relevance_fall: float = setting(
        0.1,
        "How much relevance may fall",
        "How much of what the first answers said of their prompts may be lost: how much better the base model guesses a prompt "
        "from its answer than from another's.",
        SHARE,
        least=0,
        most=1000,
    )
    repetition_rise: float = setting(
        0.1, "How much repetition may rise", "Of passages of four tokens that an answer says again.", SHARE, least=0, most=1
    )
    truncation_rise: float = setting(
        0.15, "How many more answers may be cut", "Of answers to held-out prompts, at the longest length.", SHARE, least=0, most=1
    )
    word_rise: float = setting(
        0.04,
        "How much more often one word may come",
        "Of all tokens of answers, beside the first answers.",
        SHARE,
        least=0,
        most=1,
    )
    length_control: str = setting(
        "penalty",
        "Length of answers",
        "Reward models like long answers too much. Hold the length unless your labels are about length.",
        choices={
            "penalty": "Hold it near what it was",
            "residual": "Take what length alone earns out of the score",
            "off": "Let it change",
        },
        group="length",
    )
    length_band: float = setting(
        0.2,
        "How much the length may change",
        "While the length is held: a model whose answers became longer or shorter by more than this, on average, is not kept. "
        "Half of it costs nothing.",
        SHARE,
        least=0.01,
        most=10,
        group="length",
    )
    truncated_score: float = setting(
        -1.0,
        "Score of an answer without an end",
        "In deviations of the base model's scores, where such answers are marked down.",
        least=-100,
        most=100,
    )
    penalise_truncation: bool = setting(
        False,
        "Mark down answers without an end",
        "An answer that reaches the longest length and is cut gets a low score in place of its own, unless that is lower. What "
        "the length of answers costs comes on top.",
        group="length",
    )
    reference: str = setting(
        "start",
        "Measured from",
        "The model from which it is measured how far training moved.",
        choices={"start": "The model that the round starts from", "base": "The base model"},
        group="change",
    )
    outside: str = setting(
        "",
        "Rewards outside of the model",
        "How much each counts beside the score of the reward model, which counts 1; with 0 it is not asked. All are put on one "
        "scale first. Which step is kept, and whether training must end early, is still decided by the reward model alone.",
        group="learned",
    )
    lora_rank: int = setting(16, "Rank of the adapters", "Of the low-rank matrices (LoRA).", least=1, most=1024)
    lora_layers: int = setting(4, "Adapted layers", "Counted from the top; 0 adapts every layer.", "layers", least=0, most=1000)
    panel_prompts: int = setting(
        5,
        "Prompts of the panel",
        "Their sampled answers are kept at every update for a person to read.",
        "prompts",
        least=0,
        most=100,
    )
    checkpoint_every: int = setting(
        5, "Checkpoint every", "How often the state of training is kept.", "updates", least=1, most=100_000
    )
    dtype: str = arithmetic()
    device: str = device()
    seed: int = seed("Of sampling and order.")

    def __post_init__(self) -> None:
        check(self, self._contradictions())

    @property
    def stop_nats(self) -> float:
        """KL from the reference, in nats per answer, at which a run ends."""
        return self.kl_stop_nats or STOPS_AT * self.kl_target_nats

    def outside_weights(self) -> dict[str, float]:
        """Name of a reward outside of the model -> its weight beside the model's, in the order of their names; none counts 0."""
        found = weights_by_name("outside", self.outside, MOST_OUTSIDE)
        return {name: found[name] for name in sorted(found) if found[name]}

    def _contradictions(self) -> Iterator[tuple[str, Message]]:
        try:
            self.outside_weights()
        except ConfigError as error:
            yield from error.problems.items()
        if 0 < self.sampler_weight_cap < 1:  # would scale every step, and weigh nothing
            yield "sampler_weight_cap", Message("nought_or_at_least", least=1)
        for name in ("minibatches", "answers_per_prompt"):
            if getattr(self, name) < 1 or self.episodes % getattr(self, name):
                yield name, Message("must_divide", setting="ppo.episodes", value=self.episodes)
        if self.advantage in ("rloo", "grpo") and self.answers_per_prompt < 2:
            yield "answers_per_prompt", Message("answers_are_compared", least=2)
        if self.adaptive_kl and self.kl_target_nats >= self.stop_nats:
            yield "kl_stop_nats", Message("must_be_more_than_setting", setting="ppo.kl_target_nats")
