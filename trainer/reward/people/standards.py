"""By whose standards a reward is fitted: whether people count by their reliability, whether their tastes differ, whom it follows.

Each is kept where labels of held-out prompts become likelier by it. Tastes are tried only where what one reward for all leaves
unexplained goes by who judged, and kept only where the gain is sure: people who are alike cost no time and no accuracy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from trainer.contract.config import RewardConfig
from trainer.contract.folder import RunFolder
from trainer.contract.messages import Message
from trainer.files.metrics import Metrics
from trainer.reward import validation
from trainer.reward.data import Labels
from trainer.reward.head.fitting import fit
from trainer.reward.head.label_rows import Rows, settings_of
from trainer.reward.head.model import Head
from trainer.reward.head.tastes import differ, sides
from trainer.reward.held_out import Split, cross_validate, fold_metrics, join, predict
from trainer.reward.validation import HeldOut

Fit = Callable[[Labels], Head]

TRIED: Final = 0.1  # a p value that people's tastes are one, from which on they are told apart to see whether it helps
COUNTS_LESS: Final = 0.75  # a reliability under this: a verdict says less than half of what a sure one does
SAYS_THE_OPPOSITE: Final = 0.25


class Standards(NamedTuple):
    reliability: bool = False
    taste: bool = False


class Attempt(NamedTuple):
    standards: Standards
    parts: list[HeldOut]
    members: list[Head]  # each fitted without a fold of the prompts
    fitted: Fit

    @property
    def loglik(self) -> Tensor:
        """(N,) nats of each held-out verdict, rankings behind the others."""
        said = join(self.parts).verdicts
        return torch.cat([said.loglik, said.ranking_loglik])

    @property
    def surprise(self) -> float:
        """Nats a held-out verdict."""
        return validation.mean(-self.loglik) or 0.0

    @property
    def accuracy(self) -> float | None:
        """Of held-out verdicts, each by the taste of whoever gave it."""
        return validation.accuracy(join(self.parts), own=True)


class Followed(NamedTuple):
    """The reward of the taste that is followed."""

    head: Head
    members: list[Head]
    parts: list[HeldOut]
    people: frozenset[str] | None  # whose taste it is; None: everybody's mean


def fitted_head(
    features: dict[str, Tensor],
    labels: Labels,
    config: RewardConfig,
    standards: Standards = Standards(),
    earlier: Head | None = None,
) -> Head:
    settings = settings_of(config, standards.reliability, standards.taste)
    return fit(features, labels.comparisons, labels.ratings, settings, earlier, labels.checks, labels.rankings)


def choose_standards(
    folder: RunFolder,
    labels: Labels,  # the reward's
    features: dict[str, Tensor],
    split: Split,
    config: RewardConfig,
    earlier: Head | None,
) -> tuple[Attempt, dict[str, Any]]:
    """Every label predicted by a head fitted to the other folds, in each way that the settings leave open; the best one's
    predictions and heads, how to fit it, and the figures of all.

    A warm refit keeps what the earlier head chose. Of the held-out older labels its heads know the prior variances, which were
    chosen with them in sight.
    """
    metrics = Metrics(folder.file("metrics.jsonl"))
    metrics.rewind(0)
    comparing = {label.annotator for label in labels.comparisons}
    tasteful = len(comparing) > 1 and config.taste != "off"
    several = len(comparing | {label.annotator for label in labels.rankings}) > 1
    reliabilities = {"on": [True], "off": [False], "auto": [False, True] if several else [False]}[config.reliability]
    if earlier is not None and config.reliability == "auto":
        reliabilities = [bool(earlier.reliability)]
    tried: list[Attempt] = []

    def attempt(standards: Standards, ways: int) -> Attempt:
        fitted = partial(_fitted, features=features, config=config, standards=standards, earlier=earlier)
        number = len(tried)

        def tick(fold: int, part: HeldOut) -> None:
            if number == 0:
                metrics.write(fold + 1, fold_metrics(part))
            folder.check()
            done = number * split.count + fold + 1
            folder.progress(done, ways * split.count + 1, Message("fitted_without_fold", fold=fold + 1, folds=split.count))

        return Attempt(standards, *cross_validate(labels, split, fitted, features, tick), fitted)

    if earlier is not None:
        kept = attempt(Standards(reliabilities[0], tasteful and bool(earlier.taste)), 1)
        return kept, kept.standards._asdict()
    for reliability in reliabilities:
        tried.append(attempt(Standards(reliability), len(reliabilities)))
    best = _likeliest(tried)
    figures: dict[str, Any] = {}
    if len(tried) > 1:
        for way, one in zip(("without", "with"), tried, strict=True):
            figures |= {f"nll_{way}_reliability": one.surprise, f"accuracy_{way}_reliability": one.accuracy}
    if tasteful:
        figures["taste_p_value"] = tastes_are_one(tried[0], features, config)
    if figures.get("taste_p_value", 1.0) <= TRIED:
        told_apart = [attempt(Standards(reliability, taste=True), 2 * len(reliabilities)) for reliability in reliabilities]
        common, best = best, _likeliest(told_apart)
        for way, one in zip(("without", "with"), (common, best), strict=True):
            figures |= {f"nll_{way}_taste": one.surprise, f"accuracy_{way}_taste": one.accuracy}
        said = join(common.parts).verdicts
        keys = [label.prompt_key for label in said.comparisons] + [label.prompt_key for label in said.rankings]
        low, high = validation.bootstrap(best.loglik - common.loglik, keys)
        figures |= {"taste_gain": common.surprise - best.surprise, "taste_gain_low": low, "taste_gain_high": high}
        best = best if low > 0 else common
    return best, figures | best.standards._asdict()


def _fitted(
    labels: Labels, *, features: dict[str, Tensor], config: RewardConfig, standards: Standards, earlier: Head | None
) -> Head:
    return fitted_head(features, labels, config, standards, earlier)


def _likeliest(tried: Sequence[Attempt]) -> Attempt:
    return min(tried, key=lambda one: one.surprise)


def tastes_are_one(tried: Attempt, features: dict[str, Tensor], config: RewardConfig) -> float:
    """The p value of that, from what rewards that did not learn from a label leave unexplained of it, all taken at their word."""
    held, scale = join(tried.parts), tried.members[0]
    rows = Rows(held.comparisons, [], settings_of(config), levels=False)
    known = rows.known(scale)
    known.pop("trust", None)
    design = [rows.design(features[name], group) * group.prior**0.5 for name, group in scale.groups.items()]
    return differ(rows, torch.cat(design, 1), rows.slopes(held.delta, known)[0])


def follow(
    head: Head, chosen: Attempt, labels: Labels, split: Split, features: dict[str, Tensor], config: RewardConfig
) -> Followed:
    """As the settings say whose taste the reward is to be: what it foretells is then held against what these people said."""
    groups = dict(zip(("larger", "smaller"), groups_of(head, labels), strict=False))
    people = groups.get(config.taste)
    if people is None:
        return Followed(head, chosen.members, chosen.parts, None)
    members = [member.following(people) for member in chosen.members]
    own = labels.by_people(people)
    parts = [
        predict(own.on(split.inside(fold)), fold, member.reward(features), member, member.axis(features))
        for fold, member in enumerate(members)
    ]
    return Followed(head.following(people), members, parts, people)


def groups_of(head: Head, labels: Labels) -> list[frozenset[str]]:
    """The two groups of people by taste, the larger first; none where tastes are one."""
    if not head.taste:
        return []
    counts = Counter([label.annotator for label in labels.comparisons] + [label.annotator for label in labels.ratings])
    counts.update(label.annotator for label in labels.rankings)
    return [frozenset(names) for names in sides(head.taste, counts)]


def standards_figures(head: Head, labels: Labels, people: frozenset[str] | None) -> dict[str, Any]:
    """How many people count less, are taken for the opposite, and are of which taste; nobody is named."""
    figures: dict[str, Any] = {}
    if head.reliability:
        figures["people_weighed"] = len(head.reliability)
        figures["people_counting_less"] = sum(one < COUNTS_LESS for one in head.reliability.values())
        figures["people_turned_round"] = sum(one < SAYS_THE_OPPOSITE for one in head.reliability.values())
    groups = groups_of(head, labels)
    if groups:
        figures |= {"taste_larger": len(groups[0]), "taste_smaller": len(groups[1])}
        figures["taste_followed"] = "everybody" if people is None else ("larger" if people == groups[0] else "smaller")
    return figures
