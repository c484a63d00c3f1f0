"""How good a reward is on judgements it has not seen: figures and intervals from held-out predictions. Pure functions.

Accuracy counts verdicts for one side; ties and "both bad" have no right side and enter the log-loss only. Intervals resample
prompts, because judgements of one prompt are not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.contract.intervals import wilson
from trainer.contract.messages import Message
from trainer.reward import likelihoods
from trainer.reward.data import Comparison, Labels, Rating

RESAMPLES = 2000
CALIBRATION_BINS = 8
FEWEST_DECIDED = 20  # with fewer decided comparisons, accuracy is read from ratings


class HeldOut(NamedTuple):
    """Predictions for labels by rewards that did not see their prompts."""

    comparisons: list[Comparison]
    delta: Tensor  # (N,) reward of left minus right
    loglik: Tensor  # (N,) nats
    comparison_fold: Tensor  # (N,) int64
    ratings: list[Rating]
    reward: Tensor  # (M,)
    rating_loglik: Tensor  # (M,) nats
    rating_fold: Tensor  # (M,) int64

    @property
    def verdicts(self) -> HeldOut:
        """Less the rewrites, which no figure of how people judge may count."""
        rows = torch.tensor([row for row, label in enumerate(self.comparisons) if label.is_verdict], dtype=torch.long)
        return self._replace(
            comparisons=[label for label in self.comparisons if label.is_verdict],
            delta=self.delta[rows],
            loglik=self.loglik[rows],
            comparison_fold=self.comparison_fold[rows],
        )


def comparison_figures(
    comparisons: Sequence[Comparison],
    delta: Tensor,  # (N,) held-out reward of left minus right
    loglik: Tensor,  # (N,) held-out log-likelihood of the verdict
    fold: Tensor,  # (N,) int64, which fold held the row out
    lengths: Tensor,  # (answers,) tokens of each answer
) -> dict[str, Any]:
    """Everything a page shows about comparisons; None where there is nothing to count."""
    sign = signs(comparisons)
    decided = sign != 0
    hit = correct(delta * sign)
    keys = [label.prompt_key for label in comparisons]
    longer = torch.tensor([float(lengths[label.left] - lengths[label.right]) for label in comparisons]) * sign
    low, high = interval(hit[decided], [key for key, kept in zip(keys, decided.tolist(), strict=True) if kept])
    heat, ece, bins = calibration(delta[decided].double(), sign[decided].double(), fold[decided])
    return {
        "comparisons": len(comparisons),
        "decided": int(decided.sum()),
        "ties": sum(label.choice == "tie" for label in comparisons),
        "both_bad": sum(label.choice == "both_bad" for label in comparisons),
        "accuracy": mean(hit[decided]),
        "accuracy_low": low,
        "accuracy_high": high,
        "nll": mean(-loglik),
        "ece": ece,
        "temperature": heat,
        "reliability_diagram": bins,
        "shorter_accuracy": mean(hit[longer < 0]),
        "shorter_decided": int((longer < 0).sum()),
        "longer_accuracy": mean(hit[longer > 0]),
        "longer_decided": int((longer > 0).sum()),
        "longer_wins": mean((longer[(longer != 0) & decided] > 0).float()),
    }


def rating_figures(ratings: Sequence[Rating], reward: Tensor, loglik: Tensor, fold: Tensor) -> dict[str, Any]:
    """Figures of ratings. Accuracy: of two answers that one person rated differently, the better rated scores higher.

    Each rating is paired with the next of the same person, in the same held-out fold, that differs: as many pairs as ratings
    at most.
    """
    hits, keys = [], []
    order = sorted(range(len(ratings)), key=lambda row: (ratings[row].annotator, int(fold[row])))
    for position, row in enumerate(order):
        for other in order[position + 1 :]:
            if (ratings[other].annotator, int(fold[other])) != (ratings[row].annotator, int(fold[row])):
                break
            if ratings[other].overall != ratings[row].overall:
                sign = 1.0 if ratings[row].overall > ratings[other].overall else -1.0
                hits.append(float(correct((reward[row] - reward[other])[None] * sign)))
                keys.append(ratings[row].prompt_key)
                break
    low, high = interval(torch.tensor(hits), keys)
    return {
        "ratings": len(ratings),
        "rating_pairs": len(hits),
        "rating_accuracy": mean(torch.tensor(hits)),
        "rating_accuracy_low": low,
        "rating_accuracy_high": high,
        "rating_nll": mean(-loglik),
    }


def headline_figures(held: HeldOut) -> dict[str, Any]:
    """Accuracy and its interval of held-out verdicts, or of ratings where they are the more."""
    held = held.verdicts
    sign = signs(held.comparisons)
    decided = sign != 0
    hits = correct(held.delta * sign)[decided]
    if len(hits) < len(held.ratings):
        rated = rating_figures(held.ratings, held.reward, held.rating_loglik, held.rating_fold)
        names = {"accuracy": "rating_accuracy", "accuracy_low": "rating_accuracy_low", "accuracy_high": "rating_accuracy_high"}
        return {"judged": rated["rating_pairs"], "of": "ratings"} | {own: rated[name] for own, name in names.items()}
    keys = [label.prompt_key for label, kept in zip(held.comparisons, decided.tolist(), strict=True) if kept]
    low, high = interval(hits, keys)
    return {"judged": len(hits), "of": "comparisons", "accuracy": mean(hits), "accuracy_low": low, "accuracy_high": high}


def accuracy(held: HeldOut) -> float | None:
    """Share of decided verdicts that the held-out rewards put the right way round."""
    held = held.verdicts
    sign = signs(held.comparisons)
    return mean(correct(held.delta * sign)[sign != 0])


def signs(comparisons: Sequence[Comparison]) -> Tensor:
    """(N,) 1 where left was preferred, -1 where right was, 0 where neither."""
    return torch.tensor([{"left": 1.0, "right": -1.0}.get(label.choice, 0.0) for label in comparisons])


def gate(figures: dict[str, Any]) -> tuple[bool, Message]:
    """Whether PPO may learn from this reward, and why: its held-out accuracy must beat a coin by its interval."""
    decided, pairs = figures["decided"], figures["rating_pairs"]
    if decided >= FEWEST_DECIDED:
        judged, prefix = Message("heldout_comparisons", count=decided), ""
    elif pairs >= FEWEST_DECIDED:
        judged, prefix = Message("heldout_rating_pairs", count=pairs), "rating_"
    else:
        return False, Message("too_few_judgements", comparisons=decided, ratings=pairs, needed=FEWEST_DECIDED)
    accuracy, low, high = (figures[f"{prefix}accuracy{end}"] for end in ("", "_low", "_high"))
    if low > 0.5:
        return True, Message("reward_usable", accuracy=accuracy, judged=judged, low=low, high=high)
    return False, Message("reward_unusable", accuracy=accuracy, judged=judged, low=low, high=high)


def agreement(labels: Labels) -> tuple[float | None, int]:
    """How often two people prefer the same one of two answers, the ceiling of any accuracy, and how often two judged."""
    verdicts: dict[frozenset[int], dict[str, int]] = defaultdict(dict)
    for label in labels.comparisons:
        if label.is_verdict and label.choice in ("left", "right"):
            chosen = label.left if label.choice == "left" else label.right
            verdicts[frozenset((label.left, label.right))][label.annotator] = chosen
    same = [float(one == other) for votes in verdicts.values() for one, other in combinations(votes.values(), 2)]
    return mean(torch.tensor(same)), len(same)


def annotators(comparisons: Sequence[Comparison], delta: Tensor, log_nu: float) -> dict[str, dict[str, Any]]:
    """Per person: verdicts, share that held-out rewards agree with, and Crowd-BT's reliability (near 0: sides exchanged)."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(comparisons):
        if label.choice in ("left", "right"):
            rows[label.annotator].append(row)
    nu = torch.tensor(log_nu, dtype=torch.float64)
    found = {}
    for name, mine in sorted(rows.items()):
        verdict = torch.tensor([likelihoods.VERDICTS[comparisons[row].choice] for row in mine])
        theirs = delta[mine].double()
        sign = torch.where(verdict == likelihoods.LEFT, 1.0, -1.0)
        reliability = likelihoods.reliability_of(
            likelihoods.comparison(theirs, verdict, nu), likelihoods.comparison(-theirs, verdict, nu)
        )
        found[name] = {"decided": len(mine), "accuracy": mean(correct(theirs * sign)), "reliability": reliability}
    return found


def correct(margin: Tensor) -> Tensor:
    """1 where the margin is positive, a half where it is 0."""
    return (margin > 0).float() + 0.5 * (margin == 0).float()


def interval(hits: Tensor, clusters: Sequence[str]) -> tuple[float | None, float | None]:
    """A 95 % interval of the mean of `hits`: the wider, on each side, of resampled whole clusters (fixed seed) and Wilson's.

    The bootstrap sees that judgements of one prompt go together; Wilson's keeps few or unanimous ones from looking certain.
    """
    if not len(hits):
        return None, None
    low, high = bootstrap(hits, clusters)
    least, most = wilson(float(hits.float().mean()), len(hits))
    return min(low, least), max(high, most)


def bootstrap(values: Tensor, clusters: Sequence[str]) -> tuple[float, float]:
    """A 95 % interval of the mean of `values` from resampled whole clusters, with a fixed seed."""
    names = sorted(set(clusters))
    at = {name: position for position, name in enumerate(names)}
    index = torch.tensor([at[cluster] for cluster in clusters])
    sums = torch.zeros(len(names)).index_add_(0, index, values.float())
    counts = torch.zeros(len(names)).index_add_(0, index, torch.ones(len(values)))
    drawn = torch.randint(len(names), (RESAMPLES, len(names)), generator=torch.Generator().manual_seed(0))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975])).tolist()
    return low, high


def calibration(delta: Tensor, sign: Tensor, fold: Tensor) -> tuple[float | None, float | None, list[dict[str, float]]]:
    """The temperature all rows ask for; the expected calibration error with each fold at the temperature of the others; and
    the reliability diagram: mean confidence, accuracy and count of each bin, from the least confident up.

    Guo et al. 2017, arXiv:1706.04599; confidence is the probability of the likelier side, in bins of equal count.
    """
    if len(delta) < FEWEST_DECIDED:
        return None, None, []
    confidence = torch.empty(len(delta), dtype=torch.float64)
    for held in sorted(set(fold.tolist())):
        inside = fold == held
        rest = ~inside if bool((~inside).any()) else inside
        confidence[inside] = torch.sigmoid((delta[inside] / temperature(delta[rest] * sign[rest])).abs())
    ece, bins = diagram(confidence, correct(delta * sign).double())
    return temperature(delta * sign), ece, bins


def diagram(confidence: Tensor, hits: Tensor) -> tuple[float, list[dict[str, float]]]:
    """The expected calibration error of confidences (N,) in hits (N,), and the bins of equal count that it is read from."""
    bins = [
        {"confidence": float(confidence[rows].mean()), "accuracy": float(hits[rows].mean()), "count": len(rows)}
        for rows in torch.argsort(confidence, stable=True).chunk(CALIBRATION_BINS)
    ]
    return sum(bin_["count"] / len(hits) * abs(bin_["confidence"] - bin_["accuracy"]) for bin_ in bins), bins


def correlation(x: Tensor, y: Tensor) -> float | None:
    """Pearson's correlation; None where one of the two does not vary."""
    if len(x) < 3 or float(x.std()) == 0 or float(y.std()) == 0:
        return None
    return float(torch.corrcoef(torch.stack([x.double(), y.double()]))[0, 1])


def mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None


def temperature(margin: Tensor) -> float:
    """The t that makes `sigmoid(margin / t)` most likely, on a fine grid of 1/t: one number needs no optimiser."""
    inverse = torch.logspace(-2, 1, 301, dtype=torch.float64)
    return 1 / float(inverse[torch.nn.functional.logsigmoid(margin[:, None] * inverse).sum(0).argmax()])
