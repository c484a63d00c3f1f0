"""Fit the Bayesian head to labels: standardise, let the evidence weigh the groups, find mean and posterior of the weights.

Layers, prior strength and covariates are chosen by the labels without a held-out set (decision 0003). Every kind of verdict
enters as a row of `label_rows.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainer.reward.data import Comparison, Rating
from trainer.reward.head.label_rows import HeadSettings, Rows
from trainer.reward.head.model import Group, Head
from trainer.reward.head.posterior import LARGE, posterior
from trainer.reward.head.prior_scales import find_prior_scales
from trainer.reward.head.tastes import first_places, places_of
from trainer.reward.people.checks import Checks
from trainer.reward.rankings.ranking import Ranking

EVIDENCE_LABELS = 500  # of either kind; more do not change the prior much, and cost their cube
EVIDENCE_RANKINGS = 80  # which have six rows each where they are of four answers
STANDARD_ANSWERS = 4000  # at most so many tell a feature's mean and deviation
KEEP_SHARE = 0.02  # a group that explains less than this share of the strongest is dropped
COLUMNS_AT_MOST = 2000  # with more labels than this; four layers of a small model


def fit(
    features: Mapping[str, Tensor],  # group -> (N, D) of every answer the labels speak of
    comparisons: Sequence[Comparison],
    ratings: Sequence[Rating],
    settings: HeadSettings,
    earlier: Head | None = None,
    checks: Mapping[str, Checks] | None = None,  # what repeats and known answers say of each person
    rankings: Sequence[Ranking] = (),
) -> Head:
    """Fit the reward to labels; deterministic. Raises ValueError without labels.

    With an `earlier` head the fit is warm: the groups that it kept, the variances that it found and its weights are where this
    one begins, and only weights, people and posterior are fitted anew; the places of people's tastes begin where they were, too.
    """
    if not comparisons and not ratings and not rankings:
        raise ValueError("a reward needs at least one label")
    rows = Rows(comparisons, ratings, settings, checks=checks, rankings=rankings)
    if earlier is None:
        kept = _weigh(features, comparisons, ratings, rankings, settings, rows)
    else:
        kept = {
            name: Group(group.centre, group.spread, group.prior, torch.zeros_like(group.weights))
            for name, group in earlier.groups.items()
        }
    people = rows.people()
    columns = sum(len(group.weights) for group in kept.values())
    size = len(rows)
    dtype = torch.float32 if size * columns * min(size, columns) > LARGE else torch.float64
    widths = [len(group.weights) for group in kept.values()]
    scaled = torch.empty(size, columns, dtype=dtype)  # unit prior on every column
    for (name, group), part in zip(kept.items(), torch.split(scaled, widths, 1), strict=True):
        torch.mul(rows.design(features[name], group, dtype), group.prior**0.5, out=part)
    roots = torch.cat([torch.full_like(group.weights, group.prior**0.5) for group in kept.values()])
    start = _weights(earlier) / roots[:, None] if earlier else None
    if settings.taste:
        known = earlier.taste if earlier and earlier.taste.keys() & set(rows.everybody) else {}
        people["taste"] = places_of(rows, known) if known else first_places(rows, scaled, people, start)
        start = start if known else None
    mean, shrink, precision = posterior(rows, scaled, people, start)
    weights = mean * roots[:, None]
    followed = float(people["taste"][rows.person].mean()) if settings.taste else 0.0
    for group, part in zip(kept.values(), torch.split(weights, widths), strict=True):
        group.weights = (part[:, 0] + followed * part[:, -1]).float()
        group.axis = part[:, 1].float() if settings.taste else None
    spread = torch.cat([roots] * mean.shape[1])
    return replace(rows.head(kept, (shrink * spread).float(), people), precision=precision, followed=followed)


def _weights(head: Head) -> Tensor:
    """(D, parts) float64 of a fitted head: what stands at place 0, and the axis where it has one."""
    weights = torch.cat([group.weights for group in head.groups.values()]).double()
    if not head.taste:
        return weights[:, None]
    axis = torch.cat([group.axis for group in head.groups.values() if group.axis is not None]).double()
    return torch.stack([weights - head.followed * axis, axis], 1)


def _weigh(
    features: Mapping[str, Tensor],
    comparisons: Sequence[Comparison],
    ratings: Sequence[Rating],
    rankings: Sequence[Ranking],
    settings: HeadSettings,
    rows: Rows,
) -> dict[str, Group]:
    """The groups that matter, with the prior variances that the evidence of some labels gives them."""
    answers = rows.answers
    some = thin_out(comparisons, EVIDENCE_LABELS), thin_out(ratings, EVIDENCE_LABELS)
    sample = Rows(*some, settings, rankings=thin_out(rankings, EVIDENCE_RANKINGS))
    groups = {name: _standard(values, answers, sample) for name, values in features.items()}
    designs = {name: sample.design(values, groups[name]) for name, values in features.items()}
    for name, prior in find_prior_scales(sample, designs).items():
        groups[name].prior = prior
    ranked = sorted(groups, key=lambda name: -groups[name].prior)
    columns = 0
    for position, name in enumerate(ranked):
        columns += len(groups[name].weights)
        too_many = columns > COLUMNS_AT_MOST < len(comparisons) + len(ratings) + len(rows.ranked.ranking)
        if position and (too_many or groups[name].prior <= KEEP_SHARE * groups[ranked[0]].prior):
            ranked = ranked[:position]
            break
    return {name: group for name, group in groups.items() if name in ranked}


def _standard(values: Tensor, answers: Tensor, sample: Rows) -> Group:
    """Centre each feature; spread so that the labels' rows have length 1 on average."""
    used = values[answers[:: -(-len(answers) // STANDARD_ANSWERS)]].double()
    centre = used.mean(0)
    spread = used.std(0, unbiased=False) + 1e-6 if len(used) > 1 else torch.ones_like(centre)
    group = Group(centre.float(), spread.float(), 1.0, torch.zeros_like(centre))
    length = sample.design(values, group).square().sum(1).mean().sqrt().clamp(min=1e-6)
    return replace(group, spread=(spread * length).float())


def thin_out(labels: Sequence[Any], limit: int) -> Sequence[Any]:
    """At most `limit` labels, evenly over all."""
    return labels if len(labels) <= limit else [labels[index * len(labels) // limit] for index in range(limit)]
