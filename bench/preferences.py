"""Hidden preferences for simulated annotators: each says how much it likes an answer, without noise.

A preference is `score(prompt, text) -> float`, higher is liked more. It is graded: fewer than a fifth of random pairs of
answers to one prompt tie, because a preference that mostly ties tells a reward model little. Another one plugs in by name:
`find("package.module:function")`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from itertools import combinations

Preference = Callable[[str, str], float]

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


READER = {"you", "your", "yours", "yourself", "yourselves", "you're", "you'll", "you've", "you'd"}
OTHERS = _listed(
    """
    i me my mine myself i'm i've i'll i'd we us our ours ourselves he him his himself she her hers herself they them their
    theirs themselves it its itself it's that's there's this that these those there who one people person someone everyone
    anyone
    """
)
LIST_ITEM = re.compile(r"^\s*(?:[-*•+]|\d+[.)]|[A-Za-z][.)])\s+\S")
LABEL = re.compile(r"\*\*|#|:")
HEDGES = _listed(
    """
    may might could can would perhaps maybe possibly probably likely usually often sometimes generally seem seems tend tends
    suggest suggests almost rather some many most depends
    """
)
CERTAIN = _listed("always never must certainly definitely absolutely every all only exactly clearly is are will")
COMMON = _listed(
    """
    the be is are was were am been to of and a in that have has had i it for not on with he as you do does did at this but
    his by from they we say says said her she or an will my one all would there their what so up out if about who get got
    which go goes me when make makes made can like time no just him know take takes people into year years your good some
    could them see other than then now look only come comes its over think also back after use used two how our work works
    first well way even new want because any these give gives day days most us thing things help helps need needs here more
    very many much small big long old own same few keep let put try ask find tell call feel become leave turn start show
    hear play run move live believe bring happen write sit stand lose pay meet include set learn lead talk eat read home
    food water house book friend friends family life world part place case week hand point group number night room area
    money story fact month lot right job word side kind head far black white body eye door car face child children man woman
    men women
    """
)


def concise(prompt: str, text: str) -> float:
    """Fewer words; among equals, fewer letters."""
    return -float(len(text.split())) - len(text) / 1000


def second_person(prompt: str, text: str) -> float:
    """Speaks to the reader: how often it says you or your, less a third for each word about somebody or something else."""
    words = _words(text)
    return sum(word in READER for word in words) - 0.3 * sum(word in OTHERS for word in words)


def structured(prompt: str, text: str) -> float:
    """Lines and lists: list items count double, headings and labels a half, shorter sentences a little."""
    lines = [line for line in text.splitlines() if line.strip()]
    items = sum(bool(LIST_ITEM.match(line)) for line in lines)
    sentences = len(re.findall(r"[.!?;,]", text))
    return len(lines) + 2.0 * items + 0.5 * len(LABEL.findall(text)) + 0.1 * sentences


def plain_words(prompt: str, text: str) -> float:
    """Short, common words: the share of common words, less a tenth of the mean number of letters."""
    words = _words(text)
    if not words:
        return -1.0
    return sum(word in COMMON for word in words) / len(words) - sum(map(len, words)) / len(words) / 10


def hedging(prompt: str, text: str) -> float:
    """Careful: the share of words that hedge, less a third of the share of those that leave no doubt."""
    words = _words(text)
    if not words:
        return -1.0
    return (sum(word in HEDGES for word in words) - sum(word in CERTAIN for word in words) / 3) / len(words)


PREFERENCES: dict[str, Preference] = {
    "concise": concise,
    "second_person": second_person,
    "structured": structured,
    "plain_words": plain_words,
    "hedging": hedging,
}


ABOUT_LENGTH = frozenset({"concise"})  # a hold on the answers' length would forbid what these people want


def find(name: str) -> Preference:
    """A preference of the registry, or anyone's as `module:function`. Raises ValueError with the names there are."""
    if name in PREFERENCES:
        return PREFERENCES[name]
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(f"no preference {name!r}: one of {', '.join(PREFERENCES)}, or module:function")
    found: Preference = getattr(importlib.import_module(module), function)
    return found


def tie_share(preference: Preference, answers: Iterable[tuple[str, list[str]]]) -> float:
    """The share of pairs of answers to one prompt that the preference cannot tell apart. `answers`: prompt, its answers."""
    ties = pairs = 0
    for prompt, texts in answers:
        for left, right in combinations([preference(prompt, text) for text in texts], 2):
            pairs += 1
            ties += left == right
    if not pairs:
        raise ValueError("a tie share needs at least one prompt with two answers")
    return ties / pairs


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in WORD.findall(text.lower())]
