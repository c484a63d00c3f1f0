"""The reward with adapters: LoRA on the top layers and a scalar head on where an answer ends, for thousands of labels.

The likelihood is the head's own (`label_rows.Rows`), with the people's parameters it found, so that the two are judged alike. The
scalar head begins where the labels' evidence puts it on the frozen base's end states, not at noise. Training resumes from its
state bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from trainer.contract.config import RewardConfig
from trainer.contract.folder import Cancelled
from trainer.files.checkpoint import load_state, save_state
from trainer.lm.backbone import Backbone, attach_lora, end_id, named_trainable, trainable_parameters
from trainer.lm.batched_reading import batches, read
from trainer.lm.machine.device import HOST
from trainer.lm.machine.fit import make_room
from trainer.reward.data import Comparison, Labels, Rating, TokenSequence
from trainer.reward.head.fitting import fit, thin_out
from trainer.reward.head.label_rows import HeadSettings, Rows, settings_of
from trainer.reward.head.model import Head
from trainer.reward.rankings.ranking import Ranking

Judgement = Comparison | Rating | Ranking

WARMUP_SHARE = 0.1
MAX_GRAD_NORM = 1.0
SAVE_EVERY_S = 120.0
START_LABELS = 1000  # of either kind, so that what it costs is bounded


class FineTuned:
    """A backbone whose adapters, or all weights of a SimpleLM, were trained with a scalar head."""

    def __init__(self, backbone: Backbone, head: Tensor) -> None:
        self.backbone = backbone
        self.head = head  # (D,)

    def rewards(self, sequences: Sequence[TokenSequence], tick: Callable[[], None]) -> Tensor:
        """(N,) float64 rewards."""
        with torch.no_grad():
            return (end_states(self.backbone, sequences, lambda _done, _total: tick()) @ self.head).double()

    def write(self, folder: Path) -> None:
        """Write a standard peft folder (`weights.safetensors` where there are no adapters), tokenizer, and `head.safetensors`."""
        if self.backbone.adapted:
            self.backbone.model.save_pretrained(str(folder), save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)  # peft's model card template
        else:
            save_file(
                {name: parameter.data.contiguous() for name, parameter in named_trainable(self.backbone)},
                folder / "weights.safetensors",
            )
        save_file({"head": self.head.contiguous()}, folder / "head.safetensors")
        self.backbone.tokenizer.save_pretrained(str(folder))


def train(
    backbone: Backbone,  # fresh: its adapters are attached here
    sequences: Sequence[TokenSequence],  # of every answer
    given: Labels,
    config: RewardConfig,
    people: Head,  # a head fitted to the same labels: how these people tie and rate, and where their tastes are
    tick: Callable[[int, int, float], None],  # (steps done, steps in all, loss); may raise Cancelled
    states: Path,  # folder of the resumable state; the finished weights stay there too
    reading: Callable[[int, int], None] = lambda _done, _total: None,  # (answers read, in all) before the first step; likewise
    axis: Tensor | None = None,  # (answers,) what a step along the head's axis of tastes adds to a reward; none: tastes are one
) -> FineTuned:
    """Train adapters and head on labels; the same seed gives the same weights, in one go or in several."""
    attach_lora(backbone, config.lora_rank, config.lora_layers, config.seed)
    make_room(backbone, "reward", config)
    generator = torch.Generator().manual_seed(config.seed)
    head = torch.nn.Parameter(torch.zeros(end_states(backbone, sequences[:1]).shape[1]))
    optimiser = torch.optim.AdamW([*trainable_parameters(backbone), head], lr=config.learning_rate, weight_decay=0.0)
    labels: list[Judgement] = [*given.comparisons, *given.ratings, *given.rankings]
    per_epoch = -(-len(labels) // config.batch_size)
    total = per_epoch * config.epochs
    orders = [torch.randperm(len(labels), generator=generator).tolist() for _ in range(config.epochs)]
    weights = dict(named_trainable(backbone)) | {"head": head}

    def save(done: int) -> None:
        kept = {name: parameter.data for name, parameter in weights.items()}
        save_state(states, done, {"weights": kept, "optimiser": optimiser.state_dict()})

    first = 0
    found = load_state(states)
    if found is not None and len(found[1]["optimiser"]["param_groups"]) == 1:  # an earlier version left two
        first, state = found
        for name, parameter in weights.items():
            parameter.data.copy_(state["weights"][name])
        optimiser.load_state_dict(state["optimiser"])
    else:
        settings = settings_of(config, bool(people.reliability))
        head.data.copy_(fit_start(backbone, sequences, given, settings, reading))
        save(0)
    saved = time.monotonic()
    for step in range(first, total):
        epoch, at = divmod(step, per_epoch)
        batch = [labels[row] for row in orders[epoch][at * config.batch_size : (at + 1) * config.batch_size]]
        optimiser.zero_grad()
        loss = learn(backbone, head, sequences, batch, config, people, axis)
        torch.nn.utils.clip_grad_norm_([*trainable_parameters(backbone), head], MAX_GRAD_NORM)
        factor = min((step + 1) / max(1, WARMUP_SHARE * total), (total - step) / total)
        optimiser.param_groups[0]["lr"] = config.learning_rate * factor
        optimiser.step()
        if step + 1 == total or time.monotonic() - saved > SAVE_EVERY_S:
            save(step + 1)
            saved = time.monotonic()
        try:
            tick(step + 1, total, loss)
        except Cancelled:
            save(step + 1)
            raise
    return FineTuned(backbone, head.detach())


def fit_start(
    backbone: Backbone,
    sequences: Sequence[TokenSequence],  # of every answer
    labels: Labels,
    settings: HeadSettings,
    tick: Callable[[int, int], None],  # (answers read, answers in all); may raise Cancelled
) -> Tensor:
    """(D,) the Bayesian fit of labels, START_LABELS of either kind at most, to end states as the backbone has them now.

    The rewards that it gives these labels' answers have mean 0, where the people's cutpoints expect it.
    """
    some = replace(
        labels,
        comparisons=list(thin_out(labels.comparisons, START_LABELS)),
        ratings=list(thin_out(labels.ratings, START_LABELS)),
        rankings=list(thin_out(labels.rankings, START_LABELS)),
        flag_judgements=[],
        panel=[],
    )
    answers = Rows(some.comparisons, some.ratings, settings, rankings=some.rankings).answers.tolist()
    with torch.no_grad():
        states = end_states(backbone, [sequences[answer] for answer in answers], tick)
    some = some.about(answers)
    group = fit({"end": states}, some.comparisons, some.ratings, settings, rankings=some.rankings).groups["end"]
    head, level = group.weights / group.spread, group.centre / group.spread.square()
    return head - (head @ group.centre) / (level @ group.centre).clamp(min=1e-12) * level  # along what varies least


def end_states(
    backbone: Backbone, sequences: Sequence[TokenSequence], tick: Callable[[int, int], None] = lambda _done, _total: None
) -> Tensor:
    """(N, D) float32 final states, on the host, of where answers (at least one) end, in as many passes as they need: of the end
    token, which is appended to all but those that were cut, else of the last.

    How answers are grouped changes none beyond rounding. `tick` hears before each pass how many of how many are read.
    """
    end = head_token(backbone)
    order: list[int] = []
    found: list[Tensor] = []
    for batch in batches(backbone, [item.ids for item in sequences]):
        tick(len(order), len(sequences))
        some = [sequences[index] for index in batch]
        at = read(backbone, [item.ids if item.cut else [*item.ids, end] for item in some])
        found.append(torch.cat([at(row, slice(-1, None)) for row in range(len(batch))]).float())  # a copy: `at` holds all states
        order += batch
    return torch.cat(found).to(HOST)[torch.tensor(order).argsort()]


def head_token(backbone: Backbone) -> int:
    """The token whose state is scored, which is appended to an answer."""
    own = backbone.tokenizer.eos_token_id
    return end_id(backbone) if own is None else int(own)


def learn(
    backbone: Backbone,
    head: Tensor,
    sequences: Sequence[TokenSequence],
    batch: Sequence[Judgement],
    config: RewardConfig,
    people: Head,
    axis: Tensor | None,
) -> float:
    """Add the gradients of a batch's mean negative log-likelihood to those at hand, and return it."""
    total = 0.0
    for part in _passes(sequences, batch, config.microbatch_tokens):
        loss = _loss(backbone, head, sequences, part, config, people, axis) / len(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def _passes(sequences: Sequence[TokenSequence], batch: Sequence[Judgement], tokens: int) -> Iterator[list[Judgement]]:
    """The labels in parts whose answers have so many tokens together at most (one label at least), in their order."""
    part: list[Judgement] = []
    for label in batch:
        if part and sum(len(sequences[answer].ids) for answer in _answers([*part, label])) > tokens:
            yield part
            part = []
        part.append(label)
    yield part


def _answers(batch: Sequence[Judgement]) -> list[int]:
    """Of these labels, each once."""
    compared = {index for label in batch if isinstance(label, Comparison) for index in (label.left, label.right)}
    ranked = {index for label in batch if isinstance(label, Ranking) for index in label.answers}
    return sorted(compared | ranked | {label.answer for label in batch if isinstance(label, Rating)})


def _loss(
    backbone: Backbone,
    head: Tensor,
    sequences: Sequence[TokenSequence],
    batch: Sequence[Judgement],
    config: RewardConfig,
    people: Head,
    axis: Tensor | None,
) -> Tensor:
    """Negative log-likelihood of labels; each different answer runs once. Adapters learn the reward that the head follows, and
    what of a verdict is its person's own taste is the head's.
    """
    comparisons = [label for label in batch if isinstance(label, Comparison)]
    ratings = [label for label in batch if isinstance(label, Rating)]
    rankings = [label for label in batch if isinstance(label, Ranking)]
    answers = _answers(batch)
    at = {answer: row for row, answer in enumerate(answers)}
    rewards = end_states(backbone, [sequences[answer] for answer in answers]) @ head
    rows = Rows(
        [label._replace(left=at[label.left], right=at[label.right]) for label in comparisons],
        [label._replace(answer=at[label.answer]) for label in ratings],
        settings_of(config),
        levels=people.threshold is not None,
        rankings=[label._replace(answers=tuple(at[answer] for answer in label.answers)) for label in rankings],
    )
    known = rows.known(people)
    place = known.pop("taste", None)
    u = rows.design(rewards.double()[:, None])[:, 0]
    if place is not None and axis is not None:
        u = u + (place - people.followed)[rows.person] * rows.design(axis[answers][:, None])[:, 0]
    return -rows.loglik(u, known).sum()
