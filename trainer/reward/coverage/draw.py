"""Drawing the map of what prompts cover, from what the base was read with anyway: no forward pass is made for it.

A prompt is known by its answers: the mean over them of one layer's hidden states, each averaged over the answer's tokens. They
are those of the run's labels, and the base's own answers, whose states were kept while they were written. The layer is the middle
one of those that are read: below it is spelling, above it the next word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.contract.coverage.clusters import ASKED, FEWEST_PROMPTS, Cluster, Coverage, write
from trainer.files.readable import rows
from trainer.lm.backbone import Backbone
from trainer.lm.left_out import LeftOut
from trainer.reward.coverage.clustering import clustered
from trainer.reward.coverage.words import words_apart
from trainer.reward.data import Answer, Labels, answer_in, encode_labels
from trainer.reward.features import FeatureCache

AT_ONCE = 1_000  # answers whose states are in memory


class Asked(NamedTuple):
    """A prompt to be placed, with the base's own answer where it gave one."""

    prompt_id: int
    text: str  # of the person's turns
    answer: Answer | None


def draw(
    folder: Path,
    backbone: Backbone,
    answers: Sequence[Answer],  # that the run has read
    features: Mapping[str, Tensor],  # of those answers
    cache: FeatureCache,
    max_tokens: int,  # of a prompt and an answer, that are read
) -> None:
    """Write coverage.json, where the run was given prompts to place and enough of them have answers that were read."""
    asked = list(rows(folder / ASKED, _asked))
    layer = cache.layers[len(cache.layers) // 2]
    states = _Sums([one.prompt_id for one in asked], features[f"layer_{layer}"].shape[1])
    states.add_judged(answers, features[f"layer_{layer}"])
    judged = set(answers)
    others = [one.answer for one in asked if one.answer is not None and one.answer.token_ids and one.answer not in judged]
    start = sum(features[f"layer_{one}"].shape[1] for one in cache.layers[: cache.layers.index(layer)])
    labels, sequences = encode_labels(backbone, Labels(answers=others), max_tokens, LeftOut())
    by_digest = {sequence.digest: answer for answer, sequence in zip(labels.answers, sequences, strict=True)}
    for digest, kept in cache.read(by_digest, slice(start, start + states.width)):
        states.add(by_digest[digest], kept)
    known, means = states.means()
    if len(known) >= FEWEST_PROMPTS:
        write(folder, _coverage([asked[at] for at in known], means, layer))


class _Sums:
    """Sums of the states of each prompt's answers."""

    def __init__(self, prompt_ids: Sequence[int], width: int) -> None:
        self.width = width
        self._place: dict[Any, int] = {prompt_id: at for at, prompt_id in enumerate(prompt_ids)}
        self._sums = torch.zeros(len(prompt_ids), width)
        self._counts = torch.zeros(len(prompt_ids))

    def add_judged(self, answers: Sequence[Answer], states: Tensor) -> None:
        """Some at a time: the states may be many, and lie in a file."""
        found = [(at, self._place[answer.prompt_id]) for at, answer in enumerate(answers) if answer.prompt_id in self._place]
        for some in (found[at : at + AT_ONCE] for at in range(0, len(found), AT_ONCE)):
            here, there = (torch.tensor(each) for each in zip(*some, strict=True))
            self._sums.index_add_(0, there, states[here])
            self._counts.index_add_(0, there, torch.ones(len(some)))

    def add(self, answer: Answer, states: Tensor) -> None:
        at = self._place[answer.prompt_id]
        self._sums[at] += states
        self._counts[at] += 1

    def means(self) -> tuple[list[int], Tensor]:
        """Places of the prompts that have any, and theirs."""
        known = ((self._counts > 0) & torch.isfinite(self._sums).all(1)).nonzero()[:, 0]
        return known.tolist(), self._sums[known] / self._counts[known, None]


def _coverage(asked: list[Asked], states: Tensor, layer: int) -> Coverage:
    found = clustered(states)
    members: list[list[int]] = [[] for _ in range(int(found.place.max()) + 1)]
    for at in found.distance.argsort(kind="stable").tolist():
        members[found.place[at]].append(asked[at].prompt_id)
    words = words_apart([one.text for one in asked], found.place.tolist())
    clusters = tuple(Cluster(tuple(ids), apart) for ids, apart in zip(members, words, strict=True))
    return Coverage(clusters, layer, found.dimensions, {count: round(value, 4) for count, value in found.silhouettes.items()})


def _asked(row: dict[str, Any]) -> Asked:
    text = "\n".join(str(turn["content"]) for turn in row["messages"] if turn["role"] == "user")
    return Asked(int(row["prompt_id"]), text, answer_in(row, "response") if row.get("response") else None)
