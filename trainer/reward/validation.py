"""How good a reward is on judgements it has not seen: figures and intervals from held-out predictions. Pure functions.

Accuracy counts verdicts for one side; ties and "both bad" have no right side and enter the log-loss only. A ranking counts once,
by the share of its pairs that are put the right way round. Ratings count in pairs of one prompt: what sets prompts apart says
nothing about answers. Intervals and tests go by prompts, because judgements of one prompt are not independent.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.contract.intervals import wilson
from trainer.reward import likelihoods
from trainer.reward.data import Comparison, Labels, Rating
from trainer.reward.gate import least_p_value, p_value
from trainer.reward.rankings.ranking import Ranking

RESAMPLES = 2000
CALIBRATION_BINS = 8
FEWEST_CALIBRATED = 20  # decided comparisons


class HeldOut(NamedTuple):
    """Predictions for labels by rewards that did not see their prompts."""

    comparisons: list[Comparison]
    delta: Tensor  # (N,) reward of left minus right
    own: Tensor  # (N,) the same by the taste of whoever judged
    loglik: Tensor  # (N,) nats, by their taste
    comparison_fold: Tensor  # (N,) int64
    ratings: list[Rating]
    reward: Tensor  # (M,)
    rating_loglik: Tensor  # (M,) nats
    rankings: list[Ranking]
    ranking_hit: Tensor  # (R,) share of a ranking's pairs that the rewards put the right way round; NaN where it has none
    ranking_own: Tensor  # (R,) the same by the taste of whoever ranked
    ranking_loglik: Tensor  # (R,) nats, by their taste

    @property
    def verdicts(self) -> HeldOut:
        """Less the rewrites, which no figure of how people judge may count."""
        rows = torch.tensor([row for row, label in enumerate(self.comparisons) if label.is_verdict], dtype=torch.long)
        return self._replace(
            comparisons=[label for label in self.comparisons if label.is_verdict],
            delta=self.delta[rows],
            own=self.own[rows],
            loglik=self.loglik[rows],
            comparison_fold=self.comparison_fold[rows],
        )


def comparison_figures(
    held: HeldOut,  # less the rewrites
    lengths: Tensor,  # (answers,) tokens of each answer
) -> dict[str, Any]:
    """Everything a page shows about comparisons and rankings; None where there is nothing to count."""
    comparisons, delta, fold = held.comparisons, held.delta, held.comparison_fold
    sign = signs(comparisons)
    decided = sign != 0
    hit = correct(delta * sign)
    longer = torch.tensor([float(lengths[label.left] - lengths[label.right]) for label in comparisons]) * sign
    heat, ece, bins = calibration(delta[decided].double(), sign[decided].double(), fold[decided])
    return {
        "comparisons": len(comparisons),
        "ties": sum(label.choice == "tie" for label in comparisons),
        "both_bad": sum(label.choice == "both_bad" for label in comparisons),
        "rankings": len(held.rankings),
        "ranking_pairs": sum(len(label.pairs) for label in held.rankings),
        "ranking_accuracy": mean(held.ranking_hit[~held.ranking_hit.isnan()]),
        "ranking_nll": mean(-held.ranking_loglik),
        **decided_figures(held),
        "nll": mean(-held.loglik),
        "ece": ece,
        "temperature": heat,
        "reliability_diagram": bins,
        "shorter_accuracy": mean(hit[longer < 0]),
        "shorter_decided": int((longer < 0).sum()),
        "longer_accuracy": mean(hit[longer > 0]),
        "longer_decided": int((longer > 0).sum()),
        "longer_wins": mean((longer[(longer != 0) & decided] > 0).float()),
    }


def decided_figures(held: HeldOut) -> dict[str, Any]:
    """Accuracy where one answer was preferred, with its interval and what the gate asks for; a ranking is one of these, worth the
    share of its pairs that are right. The gate's test wants whole hits: there it is one where most of them are.
    """
    hits, keys = decided_hits(held)
    low, high = interval(hits, keys)
    return {
        "decided": len(keys),
        "decided_prompts": len(set(keys)),
        "accuracy": mean(hits),
        "accuracy_low": low,
        "accuracy_high": high,
        "p_value": p_value(correct(hits - 0.5), keys),
        "least_p_value": least_p_value(keys),
    }


def decided_hits(held: HeldOut, *, own: bool = False) -> tuple[Tensor, list[str]]:
    """Of each verdict that prefers an answer, and of each ranking that tells some apart, how far the held-out rewards do alike,
    from 0 to 1, and its prompt; `own`: each by its person's taste.
    """
    sign = signs(held.comparisons)
    hit = correct((held.own if own else held.delta) * sign)[sign != 0]
    keys = [label.prompt_key for label, side in zip(held.comparisons, sign.tolist(), strict=True) if side]
    ranked = held.ranking_own if own else held.ranking_hit
    orders = ~ranked.isnan()
    keys += [label.prompt_key for label, told in zip(held.rankings, orders.tolist(), strict=True) if told]
    return torch.cat([hit.double(), ranked[orders].double()]), keys


def rating_figures(ratings: Sequence[Rating], reward: Tensor, loglik: Tensor, within_person: bool = True) -> dict[str, Any]:
    """Figures of ratings. Accuracy: of two answers to one prompt that one person rated differently, the better rated scores
    higher. Without `within_person`, of two that anybody rated: where nobody's leniency is thought of.
    """
    hits, keys = rating_hits(ratings, reward, within_person)
    low, high = interval(hits, keys)
    return {
        "ratings": len(ratings),
        "rating_pairs": len(hits),
        "rating_prompts": len(set(keys)),
        "rating_accuracy": mean(hits),
        "rating_accuracy_low": low,
        "rating_accuracy_high": high,
        "rating_p_value": p_value(hits, keys),
        "rating_least_p_value": least_p_value(keys),
        "rating_nll": mean(-loglik),
    }


def rating_hits(ratings: Sequence[Rating], reward: Tensor, within_person: bool = True) -> tuple[Tensor, list[str]]:
    """Of each pair of ratings of two answers to one prompt that differ, whether the reward does alike, and the prompt.

    Where people differ over one answer the reward has no side to take: that is no pair.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, label in enumerate(ratings):
        groups[label.prompt_key, label.annotator if within_person else ""].append(row)
    hits, keys = [torch.zeros(0)], list[str]()
    for (prompt, _annotator), rows in groups.items():
        given = torch.tensor([ratings[row].overall for row in rows])
        answers = torch.tensor([ratings[row].answer for row in rows])
        scored = reward[rows]
        for position in range(len(rows) - 1):
            better = (given[position] - given[position + 1 :]).sign()
            margin = (scored[position] - scored[position + 1 :]) * better
            other = answers[position] != answers[position + 1 :]
            hits.append(correct(margin[other & (better != 0)]))
            keys += [prompt] * len(hits[-1])
    return torch.cat(hits), keys


def headline_figures(held: HeldOut, within_person: bool = True) -> dict[str, Any]:
    """Accuracy, its interval and what the gate asks for, of held-out verdicts and of ratings; `accuracy` is of the former, where
    there are as many as ratings."""
    held = held.verdicts
    rated = rating_figures(held.ratings, held.reward, held.rating_loglik, within_person)
    found = decided_figures(held)
    if found["decided"] < len(held.ratings):
        names = ("accuracy", "accuracy_low", "accuracy_high")
        return found | rated | {name: rated[f"rating_{name}"] for name in names} | {"of": "ratings"}
    return found | rated | {"of": "comparisons"}


def accuracy(held: HeldOut, *, own: bool = False) -> float | None:
    """Share of decided verdicts that the held-out rewards put the right way round; `own`: each by its person's taste."""
    return mean(decided_hits(held.verdicts, own=own)[0])


def signs(comparisons: Sequence[Comparison]) -> Tensor:
    """(N,) 1 where left was preferred, -1 where right was, 0 where neither."""
    return torch.tensor([{"left": 1.0, "right": -1.0}.get(label.choice, 0.0) for label in comparisons])


def agreement_figures(labels: Labels) -> dict[str, Any]:
    """How often two people prefer the same one of two answers, and how often a perfect model would agree with a person, with
    95 % intervals; pairs of a ranking count like comparisons, those of ratings where nobody said either. None where nobody judged
    what somebody else had.
    """
    same, keys = agreement(labels)
    share, (low, high) = mean(same), interval(same, keys)
    best, least, most = (None if value is None else ceiling(value) for value in (share, low, high))
    return {
        "ceiling": best,
        "ceiling_low": least,
        "ceiling_high": most,
        "agreement": share,
        "agreement_low": low,
        "agreement_high": high,
        "agreement_pairs": len(same),
    }


def ceiling(agreement: float) -> float:
    """How often a perfect model would agree with one person, at the most, where two people agree with each other so often.

    Of two answers let people prefer one with probability q, and u = |2q - 1|. Two of them agree with probability (1 + u^2) / 2,
    and a model that names the likelier one is right with probability (1 + u) / 2. Where u is the same for all pairs of answers,
    agreement c means an accuracy of (1 + sqrt(2c - 1)) / 2; where it is not, of less (Jensen). Ties count in neither. Where they
    are the likelier the closer two answers are, agreement is of clearer pairs than accuracy, and again a model reaches less.
    """
    return (1 + math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def agreement(labels: Labels) -> tuple[Tensor, list[str]]:
    """1 or 0 for each two people who preferred one of the same two answers: whether it was the same one; and the prompts."""
    verdicts: dict[tuple[str, frozenset[int]], dict[str, int]] = defaultdict(dict)
    for label in labels.comparisons:
        if label.is_verdict and label.choice in ("left", "right"):
            chosen = label.left if label.choice == "left" else label.right
            verdicts[label.prompt_key, frozenset((label.left, label.right))][label.annotator] = chosen
    for ranking in labels.rankings:
        for better, worse in ranking.pairs:
            verdicts[ranking.prompt_key, frozenset((better, worse))][ranking.annotator] = better
    if not verdicts:
        for one, other in _pairs_of_ratings(labels.ratings):
            chosen = one.answer if one.overall > other.overall else other.answer
            verdicts[one.prompt_key, frozenset((one.answer, other.answer))][one.annotator] = chosen
    same, keys = list[float](), list[str]()
    for (prompt, _pair), votes in verdicts.items():
        same += [float(one == other) for one, other in combinations(votes.values(), 2)]
        keys += [prompt] * (len(same) - len(keys))
    return torch.tensor(same), keys


def _pairs_of_ratings(ratings: Sequence[Rating]) -> Iterator[tuple[Rating, Rating]]:
    """Two answers to one prompt that one person rated differently."""
    groups: dict[tuple[str, str], list[Rating]] = defaultdict(list)
    for label in ratings:
        groups[label.prompt_key, label.annotator].append(label)
    for rated in groups.values():
        for one, other in combinations(rated, 2):
            if one.answer != other.answer and one.overall != other.overall:
                yield one, other


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
    least, most = wilson(float(hits.float().mean()), effective_count(hits, clusters))
    return min(low, least), max(high, most)


def effective_count(hits: Tensor, clusters: Sequence[str]) -> float:
    """How many independent judgements would tell as much: their number over the design effect of the clusters (Kish 1965, "Survey
    sampling", 8.2), never more; the number of clusters, where all judgements are alike and nothing tells how they go together.
    """
    share, count = float(hits.double().mean()), len(hits)
    at = {name: position for position, name in enumerate(dict.fromkeys(clusters))}
    index = torch.tensor([at[cluster] for cluster in clusters])
    if share in (0.0, 1.0) or len(at) < 2:
        return len(at)
    apart = torch.zeros(len(at), dtype=torch.float64).index_add_(0, index, hits.double() - share)
    variance = float(apart.square().sum()) / count**2 * len(at) / (len(at) - 1)
    return max(1.0, share * (1 - share) / max(variance, share * (1 - share) / count))


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
    if len(delta) < FEWEST_CALIBRATED:
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
