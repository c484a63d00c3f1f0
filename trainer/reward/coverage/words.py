"""Words that set a cluster of prompts apart from the others: those it has more often than chance would give it.

Log-odds ratios with a Dirichlet prior of what all prompts say, over their standard error: Monroe, Colaresi and Quinn 2008,
Political Analysis 16(4), eq. 16 to 22. A prompt counts a word once, however often it says it. What every prompt says sets none
apart, so that no list of stop words is needed in any language. Chinese, Japanese and Thai, which write no spaces, give pairs
of characters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

MOST_WORDS: Final = 5
LEAST_Z: Final = 1.96
PRIOR: Final = 100.0  # words' worth of what all prompts say
READ: Final = 4_000  # characters of a prompt
UNSPACED: Final = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUNS: Final = re.compile(rf"[{UNSPACED}]+|[^\W\d_{UNSPACED}]{{2,40}}")
_UNSPACED: Final = re.compile(f"[{UNSPACED}]")


def words_of(text: str) -> set[str]:
    """The different words of a text, in small letters."""
    found: set[str] = set()
    for run in _RUNS.findall(text[:READ].casefold()):
        if _UNSPACED.match(run):
            found.update(one + other for one, other in pairwise(run))
        else:
            found.add(run)
    return found


def words_apart(texts: Sequence[str], places: Sequence[int]) -> list[tuple[str, ...]]:
    """By cluster (`places` numbers them from 0), the words that set it apart, the strongest first."""
    said = [Counter[str]() for _ in range(max(places) + 1)]
    for text, place in zip(texts, places, strict=True):
        said[place].update(words_of(text))
    everywhere = _sum(said)
    return [_strongest(mine, everywhere) for mine in said]


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return total


def _strongest(mine: Counter[str], everywhere: Counter[str]) -> tuple[str, ...]:
    here, all_words = mine.total(), everywhere.total()
    z = {
        word: log_odds_z(count, here, everywhere[word] - count, all_words - here, everywhere[word] / all_words)
        for word, count in mine.items()
    }
    best = sorted((word for word in z if z[word] >= LEAST_Z), key=lambda word: (-z[word], word))
    return tuple(best[:MOST_WORDS])


def log_odds_z(here: int, words_here: int, elsewhere: int, words_elsewhere: int, share: float) -> float:
    """How much likelier a word is here than elsewhere, in standard errors; `share`: of all words everywhere, its prior."""
    if share >= 1:  # the only word there is
        return 0.0
    prior = PRIOR * share
    mine, theirs = here + prior, elsewhere + prior
    odds = math.log(mine / (words_here + PRIOR - mine)) - math.log(theirs / (words_elsewhere + PRIOR - theirs))
    return odds / math.sqrt(1 / mine + 1 / theirs)
