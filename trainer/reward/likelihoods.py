"""How verdicts arise from one latent reward: pure functions in nats, elementwise over judgements, concave in the reward.

A comparison sees the difference of two rewards and, where some were called "both bad", their mean; a rating sees one
reward. Nothing here knows where rewards come from; `docs/math.md` lists the symbols.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LEFT, TIE, RIGHT = 0, 1, 2
VERDICTS = {"left": LEFT, "tie": TIE, "both_bad": TIE, "right": RIGHT}
BEYOND = 1e4  # a cutpoint nobody passes; infinity would make the noise's derivative 0 times infinity
RELIABILITY_PRIOR = (8.0, 1.5)  # Beta, worth nine judgements
RELIABILITY_MODE = (RELIABILITY_PRIOR[0] - 1) / (sum(RELIABILITY_PRIOR) - 2)  # .93
CLARITY = (1.5, 1.0)  # log odds: how clear questions are, before any came back; mean and deviation
STRENGTH_WEIGHTS = {None: 1.0, 1: 0.5, 2: 1.0, 3: 1.5}


def davidson(
    delta: Tensor,  # (N,) reward of the left answer minus reward of the right one
    log_nu: Tensor,  # scalar, how readily people say "tie"
) -> Tensor:
    """(N, 3) log-probabilities of left, tie, right: `P(left) : P(tie) : P(right) = e^{D/2} : nu : e^{-D/2}`.

    Davidson 1970, JASA 65(329), on rewards as log-worths. As nu goes to 0 it becomes Bradley-Terry.
    """
    return torch.stack([delta / 2, log_nu.expand_as(delta), -delta / 2], -1).log_softmax(-1)


def comparison(
    delta: Tensor,  # (N,)
    verdict: Tensor,  # (N,) int64: LEFT, TIE or RIGHT
    log_nu: Tensor,  # scalar
    reliability: Tensor | None = None,  # (N,) in (0, 1): the chance that this judge did not mix up the sides
) -> Tensor:
    """(N,) log-likelihood of each verdict.

    With a reliability it is Crowd-BT's mixture `eta P(D) + (1 - eta) P(-D)` (Chen et al. 2013, WSDM), which is not concave.
    """
    said = davidson(delta, log_nu).gather(-1, verdict[:, None])[:, 0]
    if reliability is None:
        return said
    meant = davidson(-delta, log_nu).gather(-1, verdict[:, None])[:, 0]
    return torch.logaddexp(reliability.log() + said, (1 - reliability).log() + meant)


def comparison_information(
    delta: Tensor,  # (N,)
    log_nu: Tensor,  # scalar
    reliability: Tensor,  # (N,)
) -> Tensor:
    """(N,) Fisher information of delta in one verdict: the expected curvature of `comparison`, `sum_v P_v'^2 / P_v`.

    Never negative, unlike the mixture's own curvature; 0 for a judge who throws a coin; the curvature itself for a sure one.
    """
    left, tie, right = davidson(delta, log_nu).exp().unbind(-1)
    lean = (left - right) / 2
    rise = torch.stack([left * (0.5 - lean), -tie * lean, right * (-0.5 - lean)], -1)  # of each chance, per unit of delta
    chance = torch.stack([left, tie, right], -1)
    mixed, climbs = (reliability[:, None] * part + (1 - reliability)[:, None] * part.flip(-1) for part in (chance, rise))
    return (climbs.square() / mixed.clamp(min=1e-300)).sum(-1)


def level(
    mean_reward: Tensor,  # (N,) mean of the two rewards
    both_bad: Tensor,  # (N,) bool: the person called both answers bad
    threshold: Tensor,  # scalar, the mean reward at which half would
) -> Tensor:
    """(N,) log-likelihood of calling, or not calling, a pair bad as a whole: `P(both bad) = sigmoid(threshold - mean)`.

    Beside the tie that "both bad" also is. Pairs that were *not* called bad carry the other half of the evidence; without
    them the threshold would run away.
    """
    lean = threshold - mean_reward
    return logsigmoid(torch.where(both_bad, lean, -lean))


def rating(
    reward: Tensor,  # (N,)
    score: Tensor,  # (N,) int64 in 1..K+1
    cutpoints: Tensor,  # (K,) ascending
    scale: Tensor,  # scalar > 0, rating units per unit of reward
    leniency: Tensor,  # (N,) of each judgement's annotator; higher gives higher ratings
    noise: Tensor,  # (N,) > 0 of each judgement's annotator
) -> Tensor:
    """(N,) log-likelihood under the cumulative link `P(R <= k) = sigmoid((c_k - b_j - s r) / tau_j)`.

    McCullagh 1980 (proportional odds), with a leniency and a noise for each annotator.
    """
    outer = cutpoints.new_tensor([BEYOND])
    edges = torch.cat([-outer, cutpoints, outer])
    centre = leniency + scale * reward
    above, below = (edges[score] - centre) / noise, (edges[score - 1] - centre) / noise
    # log(sigmoid(above) - sigmoid(below)), without cancellation
    return logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(below - above))


def ordered(raw: Tensor) -> Tensor:
    """(K,) free numbers -> (K,) ascending cutpoints: the first, then steps of e^raw."""
    return torch.cat([raw[:1], raw[:1] + raw[1:].exp().cumsum(0)])


def strength_weight(strength: int | None) -> float:
    """How much one comparison counts: slightly better a half, clearly (or not said) one, much better one and a half."""
    return STRENGTH_WEIGHTS[strength]


def normal_prior(value: Tensor, deviation: float) -> Tensor:
    """Log-density, up to a constant, of independent N(0, deviation^2) on every entry; a scalar."""
    return -0.5 * (value / deviation).square().sum()


def reliability_prior(reliability: Tensor) -> Tensor:
    """Log-density, up to a constant, of Crowd-BT's Beta prior over etas (J,) in (0, 1); a scalar."""
    a, b = RELIABILITY_PRIOR
    kept = reliability.clamp(1e-12, 1 - 1e-12)
    return ((a - 1) * kept.log() + (b - 1) * (1 - kept).log()).sum()


def checks(
    reliability: Tensor,  # (J,) Crowd-BT's etas
    clarity: Tensor,  # (1,) in (0, 1): mean of (P(left) - P(right))^2 over questions, as somebody sure answers them
    asked: Tensor,  # (J, 4) how often: asked again, the same said; asked what is known, right
) -> Tensor:
    """(J,) log-likelihood of what came of repeats and of known answers.

    Of a question that somebody sure answers with probabilities (1 + m) / 2 and (1 - m) / 2, a judge of reliability eta says the
    same twice with probability (1 + ((2 eta - 1) m)^2) / 2, and what is right with (1 + (2 eta - 1) m) / 2. The mean of m^2 over
    questions is the clarity; a known answer is taken to be as clear as the root of it. Steadiness alone does not tell whoever
    says the opposite from whoever says what is right; known answers do.
    """
    again, same, known, right = asked.unbind(1)
    lean = 2 * reliability - 1
    steady, knows = (1 + clarity * lean.square()) / 2, (1 + clarity.sqrt() * lean) / 2
    return same * steady.log() + (again - same) * (1 - steady).log() + right * knows.log() + (known - right) * (1 - knows).log()


def reliability_of(
    agreed: Tensor,  # (N,) one judge's verdicts: log-likelihood of each as said
    reversed_: Tensor,  # (N,) and with the sides exchanged
    prior: tuple[float, float] = RELIABILITY_PRIOR,
    steps: int = 50,
) -> float:
    """The MAP of Crowd-BT's eta for one judge, given rewards that this judge's verdicts did not train, by EM."""
    eta = prior[0] / sum(prior)
    for _ in range(steps):
        log_odds = torch.logit(torch.tensor(eta, dtype=agreed.dtype)) + agreed - reversed_
        kept = float(torch.sigmoid(log_odds).sum())
        eta = (kept + prior[0] - 1) / (len(agreed) + sum(prior) - 2)
    return eta
