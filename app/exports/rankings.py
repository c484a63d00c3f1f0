"""What a ranking becomes in exports: its order in words, its answers with their places, the pairs that it implies.

Pure functions of what its label has (`{"shown", "order", "last", "all_bad"}`, answers numbered from 1 as they were shown) and of
its answers in that order, whatever they are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from trainer.contract.judgements.order import order_of

Answer = TypeVar("Answer")
Ranking = Mapping[str, Any]
Pairs = tuple[tuple[int, int], ...]  # ids of the better and the worse answer of each two that are told apart
ALL_BAD = "both_bad"  # the verdict, as a comparison has it


def verdict_of(ranking: Ranking) -> str | Pairs:
    """What it says, comparable between people, who see the answers in other orders."""
    return ALL_BAD if ranking["all_bad"] else tuple(sorted(implied(ranking, ranking["shown"])))


def implied(ranking: Ranking, answers: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    """The better and the worse of each two answers that it tells apart; none where all are bad."""
    if ranking["all_bad"]:
        return []
    return [(answers[better], answers[worse]) for better, worse in order_of(ranking, len(answers)).pairs()]


def shares(verdicts: Sequence[Any], chosen: int, rejected: int) -> dict[str, Any]:
    """Of one pair: how many people ranked, and the shares of them whose rankings put it so, or the other way round."""
    n, ways = len(verdicts), {"chosen": (chosen, rejected), "rejected": (rejected, chosen)}
    times = {name: sum(isinstance(said, tuple) and pair in said for said in verdicts) for name, pair in ways.items()}
    times |= {"tie": 0, "both_bad": sum(said == ALL_BAD for said in verdicts)}
    return {"n": n} | {name: round(count / n, 6) if n else 0.0 for name, count in times.items()}


def in_words(ranking: Ranking) -> str:
    """The order as it is written: `2 > 1 = 4 > ... > 3`, answers by number as they were shown."""
    if ranking["all_bad"]:
        return "all bad"
    groups = [" = ".join(map(str, group)) for group in ranking["order"]]
    groups += ["..."] if order_of(ranking, len(ranking["shown"])).unplaced else []
    groups += [" = ".join(map(str, ranking["last"]))] if ranking["last"] else []
    return " > ".join(groups)


def places(ranking: Ranking) -> list[dict[str, Any]]:
    """Of each answer as shown: 1 for the best, equals alike, 0 where it was not placed; and whether it was called the worst."""
    placed = {number: place for place, group in enumerate(ranking["order"], start=1) for number in group}
    numbers = range(1, len(ranking["shown"]) + 1)
    return [{"place": placed.get(number, 0), "last": number in ranking["last"]} for number in numbers]


def flagged(ranking: Ranking, flags: Mapping[str, Sequence[str]]) -> list[str]:
    """What was ticked of each answer as shown."""
    return [", ".join(flags.get(str(number), ())) for number in range(1, len(ranking["shown"]) + 1)]


def desirability(ranking: Ranking, answers: Sequence[Answer]) -> Iterator[tuple[Answer, bool]]:
    """The answers at the ends that somebody named, in so many words or by an order of all; all of them where all are bad."""
    order = order_of(ranking, len(answers))
    pairs = list(order.pairs())
    better, worse = {one for one, _ in pairs}, {other for _, other in pairs}
    has_worst = bool(order.last) or not order.unplaced
    for place, answer in enumerate(answers):
        if ranking["all_bad"] or (has_worst and place in worse - better):
            yield answer, False
        elif order.order and place in better - worse:
            yield answer, True
