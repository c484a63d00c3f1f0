"""The tastes of simulated people by name, those that a model must read for among them, and people who call nonsense bad.

`preferences.py` holds what counts of words, letters and lines express. Here stand besides:

- `relevant`: an answer from which one could guess the question (reading.py);
- `specific`: an answer that brings words of its own subject, which no other question would bring (reading.py);
- `people`: what a reward likes that was fitted to real people's judgements of other prompts (people.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.people import People, judged_by_people
from bench.preferences import PREFERENCES, Preference, find
from bench.reading import Measured, Pair, Reader

READ = ("relevant", "specific", "people")
TASTES = ("hedging", "relevant", "people", "specific", "second_person", "structured", "plain_words", "concise")
FAR = 2.0  # deviations of the base's answers under their mean: what is less fluent makes no sense
MUMBLES = 0.3  # of an answer's passages of four tokens said again: from here it is no answer
NONSENSE = float("-inf")


def opened(
    name: str, reader: Reader, judgements: Path, cache: Path, prompts: Sequence[str]
) -> tuple[Preference, dict[str, object]]:
    """A taste and what is to be stated of it. `prompts` are the project's, of which no judgement of `people` may speak.

    Raises ValueError with the names there are.
    """
    if name == "relevant":
        return reader.relevance, {}
    if name == "specific":
        return reader.specificity, {}
    if name == "people":
        people = People(reader.backbone, judged_by_people(judgements, but_not=prompts), cache)
        return people.liking, {"oracle": people.figures}
    if name not in PREFERENCES and ":" not in name:
        raise ValueError(f"no taste {name!r}: one of {', '.join(TASTES)}, or module:function")
    return find(name), {}


class Sensible:
    """A taste of people who want sense first: an answer that makes none is worse to them than any that does."""

    def __init__(self, taste: Preference, reader: Reader, usual: Sequence[Pair]) -> None:
        """`usual`: answers of the base, whose fluency says what makes sense."""
        self._taste, self._reader = taste, reader
        reader.fluency.prepare(usual)
        fluency = [reader.fluency(*pair) for pair in usual]
        self.least_fluency = statistics.fmean(fluency) - FAR * statistics.stdev(fluency)

    def prepare(self, pairs: Sequence[Pair]) -> None:
        self._reader.fluency.prepare(pairs)
        if isinstance(self._taste, Measured):
            self._taste.prepare(pairs)

    def nonsense(self, prompt: str, text: str) -> bool:
        fluency, repetition = self._reader.fluency(prompt, text), self._reader.repetition(prompt, text)
        return not text.strip() or fluency < self.least_fluency or repetition > MUMBLES

    def __call__(self, prompt: str, text: str) -> float:
        return NONSENSE if self.nonsense(prompt, text) else self._taste(prompt, text)
