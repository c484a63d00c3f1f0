"""Labels as rows of one vector u: differences of rewards, then pair means, rated answers, and rankings; log-likelihoods in nats.

A reward is linear, so u = design @ w, and whoever fits one needs a row's slope and curvature in its own u and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from trainer.contract.config import RewardConfig
from trainer.reward import likelihoods
from trainer.reward.data import Comparison, Rating
from trainer.reward.head.model import Group, Head
from trainer.reward.people.checks import Checks
from trainer.reward.rankings.ranking import Ranking
from trainer.reward.rankings.rows import RankingRows

LEAST_CURVATURE = 1e-9
SURE = 1 - 1e-9  # the reliability of somebody taken at their word


@dataclass(frozen=True)
class HeadSettings:
    both_bad_weight: float = 0.5
    rating_weight: float = 1.0
    rewrite_weight: float = 1.0
    reliability: bool = False  # learn how often each annotator means the other side
    taste: bool = False  # learn an axis along which annotators' tastes differ, and where each of them stands on it
    leniency: bool = True  # learn each annotator's leniency and noise in ratings
    points: int = 5  # of a rating: 1 to `points`


def settings_of(config: RewardConfig, reliability: bool = False, taste: bool = False) -> HeadSettings:
    return HeadSettings(config.both_bad_weight, config.rating_weight, config.rewrite_weight, reliability, taste, config.leniency)


class Rows:
    """Labels as rows. The people's parameters, which all rows share, are passed to every method as name -> tensor.

    Where tastes differ (`taste` is among the parameters), a row has two parts: what everybody shares, and the axis of tastes, of
    which its person's place says how much they take.
    """

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        ratings: Sequence[Rating],
        settings: HeadSettings,
        levels: bool | None = None,
        checks: Mapping[str, Checks] | None = None,
        rankings: Sequence[Ranking] = (),
    ) -> None:
        self.left = torch.tensor([label.left for label in comparisons], dtype=torch.long)
        self.right = torch.tensor([label.right for label in comparisons], dtype=torch.long)
        self.verdict = torch.tensor([likelihoods.VERDICTS[label.choice] for label in comparisons], dtype=torch.long)
        weights = {"verdict": 1.0, "rewrite": settings.rewrite_weight}
        self.weight = torch.tensor(
            [likelihoods.strength_weight(label.strength) * weights[label.source] for label in comparisons], dtype=torch.float64
        )
        self.bad = torch.tensor([label.choice == "both_bad" for label in comparisons], dtype=torch.bool)
        self.ranked = RankingRows(rankings)
        self.voters, voter = _numbered([label.annotator for label in comparisons] + self.ranked.annotators)
        self.voter, self.ranker = voter[: len(comparisons)], voter[len(comparisons) :]
        self.rated = torch.tensor([label.answer for label in ratings], dtype=torch.long)
        self.score = torch.tensor([label.overall for label in ratings], dtype=torch.long)
        self.rated_weight = settings.rating_weight * torch.tensor([label.weight for label in ratings], dtype=torch.float64)
        self.names, self.judge = _numbered([label.annotator for label in ratings])
        self.levels = bool(self.bad.any() or self.ranked.bad.any()) if levels is None else levels
        self.settings = settings
        compared = [label.annotator for label in comparisons] * (2 if self.levels else 1)
        ordered = [self.ranked.annotators[ranking] for ranking in self.ranked.ranking.tolist()]
        ordered += self.ranked.annotators if self.levels else []
        self.everybody, self.person = _numbered(compared + [label.annotator for label in ratings] + ordered)
        self.checked = _checked(self.voters, checks or {})

    @property
    def answers(self) -> Tensor:
        """Indices of the answers the rows speak of, each once."""
        compared = {*self.left.tolist(), *self.right.tolist(), *self.rated.tolist()}
        return torch.tensor(sorted(compared | self.ranked.answers), dtype=torch.long)

    def __len__(self) -> int:
        return len(self.person)

    def design(self, values: Tensor, group: Group | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
        """(N, D) features, raw where their `group` standardises them -> (rows, D) so that u = design @ w."""
        left, right = values[self.left].to(dtype), values[self.right].to(dtype)
        centre = torch.zeros((), dtype=dtype) if group is None else group.centre.to(dtype)
        parts = [left - right]
        if self.levels:
            parts.append((left + right) / 2 - centre)
        parts.append(values[self.rated].to(dtype) - centre)
        parts.append(self.ranked.differences(values).to(dtype))
        if self.levels:
            parts.append(self.ranked.means(values).to(dtype) - centre)
        found = torch.cat(parts)
        return found if group is None else found / group.spread.to(dtype)

    def people(self) -> dict[str, Tensor]:
        """Starting values of what is learned about people: how they tie, what is bad, how they rate, how far to trust them."""
        ties = float((self.verdict == likelihoods.TIE).sum()) if len(self.verdict) else 0.0
        start = {"log_nu": torch.tensor([(ties + 0.5) / (len(self.verdict) - ties + 1.0)]).log()}
        if self.levels:
            bad = torch.cat([self.bad, self.ranked.bad]).double().mean()
            start["threshold"] = torch.logit(bad.clamp(0.01, 0.99))[None]
        if self.settings.reliability and self.voters:
            mode = torch.tensor(likelihoods.RELIABILITY_MODE)
            start["trust"] = torch.logit(mode).expand(len(self.voters)).clone()
            if bool(self.checked.any()):
                start["clarity"] = torch.tensor([likelihoods.CLARITY[0]])
        if len(self.rated):
            start |= {"cuts": torch.tensor([-2.0, *[0.0] * (self.settings.points - 2)])}
            if self.voters:  # with ratings alone the prior of the weights is the scale already
                start["log_scale"] = torch.zeros(1)
            if self.settings.leniency:
                start |= {"leniency": torch.zeros(len(self.names)), "log_noise": torch.zeros(len(self.names))}
        return {name: value.double() for name, value in start.items()}

    def known(self, head: Head) -> dict[str, Tensor]:
        """The people's parameters that a fitted head found; somebody it never met is taken as average."""
        values: dict[str, list[float]] = {"log_nu": [head.log_nu]}
        if self.levels:
            values["threshold"] = [head.threshold or 0.0]
        if head.reliability and self.voters:
            values["trust"] = [_logit(head.reliability.get(name, likelihoods.RELIABILITY_MODE)) for name in self.voters]
        if head.taste:
            values["taste"] = [head.taste.get(name, head.followed) for name in self.everybody]
        if len(self.rated):
            steps = [high - low for low, high in pairwise(head.cutpoints)]
            values |= {"cuts": [head.cutpoints[0], *map(math.log, steps)], "log_scale": [math.log(head.scale)]}
            values["leniency"] = [head.leniency.get(name, 0.0) for name in self.names]
            values["noise"] = [head.noise.get(name, 1.0) for name in self.names]
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def nothing(self, columns: int, people: Mapping[str, Tensor]) -> Tensor:
        """(columns, parts) zeros: weights of whoever knows nothing yet."""
        return torch.zeros(columns, 2 if "taste" in people else 1, dtype=torch.float64)

    def told(self, parts: Tensor, people: Mapping[str, Tensor]) -> Tensor:
        """(rows, parts) -> (rows,) u, each row's by its own person's taste."""
        u: Tensor = parts[:, 0]
        return u + people["taste"][self.person] * parts[:, 1] if "taste" in people else u

    def parted(self, slope: Tensor, people: Mapping[str, Tensor]) -> Tensor:
        """(rows,) slope in u -> (rows, parts) slope in each part."""
        parts = [slope, slope * people["taste"][self.person]] if "taste" in people else [slope]
        return torch.stack(parts, 1)

    def widened(self, basis: Tensor, people: Mapping[str, Tensor]) -> Tensor:
        """(rows, D) -> (rows, parts D): the columns of all that u is linear in."""
        if "taste" not in people:
            return basis
        return torch.cat([basis, basis * people["taste"][self.person][:, None].to(basis.dtype)], 1)

    def alike(self, kernel: Tensor, people: Mapping[str, Tensor]) -> Tensor:
        """(rows, rows) prior covariance of what is shared -> that of u."""
        if "taste" not in people:
            return kernel
        place = people["taste"][self.person]
        return kernel * (1 + place[:, None] * place)

    def loglik(self, u: Tensor, people: Mapping[str, Tensor]) -> Tensor:
        """Weighted log-likelihood of everything said: as the rows, but one of each ranking for all of its differences."""
        pairs = len(self.left)
        trust = self.trust(people)
        parts = [self.weight * likelihoods.comparison(u[:pairs], self.verdict, people["log_nu"][0], _of(trust, self.voter))]
        rest = u[pairs:]
        if self.levels:
            level = likelihoods.level(rest[:pairs], self.bad, people["threshold"][0])
            parts.append(self.settings.both_bad_weight * level)
            rest = rest[pairs:]
        if len(self.rated):
            nothing = u.new_zeros(())
            noise = _relative_noise(people)[self.judge] if {"noise", "log_noise"} & people.keys() else nothing + 1
            lean = people["leniency"][self.judge] if "leniency" in people else nothing
            cuts = likelihoods.ordered(people["cuts"])
            scale = people["log_scale"].exp()[0] if "log_scale" in people else nothing + 1
            rating = likelihoods.rating(rest[: len(self.rated)], self.score, cuts, scale, lean, noise)
            parts.append(self.rated_weight * rating)
        if len(self.ranked):
            apart, means = torch.split(rest[len(self.rated) :], [len(self.ranked.ranking), self._means])
            parts.append(self.ranked.loglik(apart, people["log_nu"][0], _of(trust, self.ranker)))
            if self.levels:
                parts.append(self.settings.both_bad_weight * likelihoods.level(means, self.ranked.bad, people["threshold"][0]))
        return torch.cat(parts)

    @property
    def _means(self) -> int:
        """Rows of rankings' means, at the end."""
        return len(self.ranked) if self.levels else 0

    def slopes(self, u: Tensor, people: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Slope and curvature (negative second derivative, at least a little) of each row's log-likelihood in its u, (rows,).

        A comparison's is the expected one: a mixture with the exchanged sides need not be concave. A ranking's bends between its
        rows, too, and `RankingRows.curve` says how much of it each has.
        """
        u = u.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.loglik(u, people).sum(), u, create_graph=True)
        (second,) = torch.autograd.grad(slope.sum(), u)
        curve, pairs = -second, len(self.left)
        trust = self.trust(people)
        if trust is not None:
            information = likelihoods.comparison_information(u.detach()[:pairs], people["log_nu"][0], trust[self.voter])
            curve[:pairs] = self.weight * information
        if len(self.ranked):
            end = len(u) - self._means
            ordered = slice(end - len(self.ranked.ranking), end)
            curve[ordered] = self.ranked.curve(u.detach()[ordered], people["log_nu"][0], _of(trust, self.ranker))
        return slope.detach(), curve.clamp(min=LEAST_CURVATURE)

    def log_prior(self, people: Mapping[str, Tensor]) -> Tensor:
        deviations = {"log_nu": 2.0, "threshold": 3.0, "cuts": 3.0, "log_scale": 0.5, "leniency": 1.0, "log_noise": 0.5}
        deviations["taste"] = 1.0
        terms = [likelihoods.normal_prior(people[name], deviation) for name, deviation in deviations.items() if name in people]
        if "trust" in people:
            terms.append(likelihoods.reliability_prior(torch.sigmoid(people["trust"])))
        if "clarity" in people:
            middle, deviation = likelihoods.CLARITY
            terms.append(likelihoods.normal_prior(people["clarity"] - middle, deviation))
            known = likelihoods.checks(torch.sigmoid(people["trust"]), torch.sigmoid(people["clarity"]), self.checked)
            terms.append(known.sum())
        return torch.stack(terms).sum()

    def head(self, groups: dict[str, Group], shrink: Tensor, people: Mapping[str, Tensor]) -> Head:
        rated = len(self.rated) > 0
        learned = rated and "leniency" in people
        trust = torch.sigmoid(people["trust"]).tolist() if "trust" in people else []
        return Head(
            groups,
            shrink,
            log_nu=float(people["log_nu"]),
            threshold=float(people["threshold"]) if self.levels else None,
            cutpoints=likelihoods.ordered(people["cuts"]).tolist() if rated else [],
            scale=float(people["log_scale"].exp()) if "log_scale" in people else 1.0,
            leniency=dict(zip(self.names, people["leniency"].tolist(), strict=True)) if learned else {},
            noise=dict(zip(self.names, _relative_noise(people).tolist(), strict=True)) if learned else {},
            reliability=dict(zip(self.voters, trust, strict=True)) if trust else {},
            taste=dict(zip(self.everybody, people["taste"].tolist(), strict=True)) if "taste" in people else {},
        )

    def trust(self, people: Mapping[str, Tensor]) -> Tensor | None:
        """(voters,) Crowd-BT's etas of those who compared and ranked; None where everyone is taken at their word."""
        return torch.sigmoid(people["trust"]).clamp(1 - SURE, SURE) if "trust" in people else None

    def reliability(self, people: Mapping[str, Tensor]) -> Tensor | None:
        """(pairs,) that of each comparison's annotator."""
        return _of(self.trust(people), self.voter)


def _numbered(names: Sequence[str]) -> tuple[list[str], Tensor]:
    """The different names in order, and the number of each given one."""
    unique = sorted(set(names))
    at = {name: number for number, name in enumerate(unique)}
    return unique, torch.tensor([at[name] for name in names], dtype=torch.long)


def _of(trust: Tensor | None, voter: Tensor) -> Tensor | None:
    """Each judgement's own."""
    return None if trust is None else trust[voter]


def _relative_noise(people: Mapping[str, Tensor]) -> Tensor:
    """(J,) each judge's noise beside the others', whose scale is the reward's own; or as it is already known."""
    if "noise" in people:
        return people["noise"]
    return (people["log_noise"] - people["log_noise"].mean()).exp()


def _logit(share: float) -> float:
    kept = min(max(share, 1 - SURE), SURE)
    return math.log(kept / (1 - kept))


def _checked(names: Sequence[str], checks: Mapping[str, Checks]) -> Tensor:
    """(people, 4) how often each was asked again, said the same, was asked what is known, was right."""
    found = [checks.get(name, Checks()) for name in names]
    return torch.tensor(found, dtype=torch.float64).reshape(len(names), len(Checks._fields))
