"""What a model that is not in training makes of answers, for simulated people whose liking no count of words expresses.

The base reads a question and an answer: how fluent the answer is, how much of the question it tells, how little it would suit any
other question. All in nats, without noise, each kept once it was computed.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench.preferences import COMMON
from trainer.lm.backbone import chat_ids
from trainer.lm.forward import pack, response_logprobs
from trainer.lm.loading import load_backbone
from trainer.ppo.readability import REPEATED, repeated
from trainer.reward.data import ids_of_text

Pair = tuple[str, str]  # a question, an answer

BATCH = 16
QUESTION_TOKENS, ANSWER_TOKENS = 128, 256  # longer ones are cut
ELSEWHERE = (  # answers to other questions, after which any question is about as likely as after none of its own
    "Put the key under the mat and come back on Tuesday.",
    "The second team won by two points, and everybody went home happy.",
    "Mix the flour with a little milk, then let it rest.",
)
ANYTHING = "Tell me something."
STEM = 5  # letters by which a word is taken to be the question's own


class Measured:
    """A figure of answers, computed for many at once and kept: a preference as others are, once it is told what will be asked."""

    def __init__(self, compute: Callable[[Sequence[Pair]], Sequence[float]]) -> None:
        self._compute = compute
        self._known: dict[Pair, float] = {}
        self._lock = threading.Lock()  # several people judge at once

    def prepare(self, pairs: Sequence[Pair]) -> None:
        with self._lock:
            missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
            self._known |= dict(zip(missing, self._compute(missing), strict=True)) if missing else {}

    def __call__(self, prompt: str, text: str) -> float:
        if (prompt, text) not in self._known:
            self.prepare([(prompt, text)])
        return self._known[prompt, text]


class Reader:
    """A model that reads. Each figure is a preference of `(question, answer)`."""

    def __init__(self, model: Path) -> None:
        self.backbone = load_backbone(str(model), "auto")
        self._after_others: dict[str, float] = {}
        self._own: dict[Pair, list[float]] = {}
        self.fluency = Measured(self._fluency)
        self.relevance = Measured(self._relevance)
        self.specificity = Measured(self._specificity)

    def ids(self, text: str) -> list[int]:
        return ids_of_text(self.backbone, text)[:ANSWER_TOKENS]

    def repetition(self, _prompt: str, text: str) -> float:
        """The share of passages of four tokens that stood in the answer before."""
        return repeated(self.ids(text), REPEATED)

    def _fluency(self, pairs: Sequence[Pair]) -> list[float]:
        """Nats per token: the answer's mean log-probability after its question."""
        return [statistics.fmean(nats) for nats in self._own_nats(pairs)]

    def _relevance(self, pairs: Sequence[Pair]) -> list[float]:
        """Nats per token of the question: how much likelier it is after this answer than after answers to others.

        log p(question | answer) - log p(question), the latter as the mean after `ELSEWHERE`, so that what any text before it does
        cancels. Li et al. 2016, arXiv:1510.03055, section 3.
        """
        unknown = [prompt for prompt in dict.fromkeys(prompt for prompt, _ in pairs) if prompt not in self._after_others]
        if unknown:
            after = [self._question_nats([(prompt, text) for prompt in unknown]) for text in ELSEWHERE]
            self._after_others |= {prompt: statistics.fmean(nats) for prompt, *nats in zip(unknown, *after, strict=True)}
        own = self._question_nats(pairs)
        return [nats - self._after_others[prompt] for (prompt, _), nats in zip(pairs, own, strict=True)]

    def _specificity(self, pairs: Sequence[Pair]) -> list[float]:
        """Nats of the answer's words that this question brings and does not say itself: names, things, numbers of its subject.

        Each content word that is new counts by how much likelier it is here than had anything been asked, log p(word | question,
        before) - log p(word | `ANYTHING`, before), as far as that is above 0, over the root of the number of the answer's tokens.
        What would do anywhere ("That is a good idea") has none, nor has the question's own words said again: after Adiwardana et
        al. 2020, arXiv:2001.09977, section 2.2, by whom an answer is specific that suits no other question.
        """
        answers = [self.ids(text) for _, text in pairs]
        elsewhere = self._nats([self._asked(ANYTHING)] * len(pairs), answers)
        found = []
        for (prompt, _), ids, own, other in zip(pairs, answers, self._own_nats(pairs), elsewhere, strict=True):
            said, total = prompt.lower(), 0.0
            for word, tokens in words_of([self.backbone.tokenizer.decode([token]) for token in ids]):
                if word not in COMMON and word[:STEM] not in said:
                    total += max(0.0, sum(own[at] - other[at] for at in tokens))
                    said += " " + word
            found.append(total / len(ids) ** 0.5)
        return found

    def _own_nats(self, pairs: Sequence[Pair]) -> list[list[float]]:
        """Of each token of the answers, after their questions."""
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._own]
        nats = self._nats([self._asked(prompt) for prompt, _ in missing], [self.ids(text) for _, text in missing])
        self._own |= dict(zip(missing, nats, strict=True))
        return [self._own[pair] for pair in pairs]

    def _question_nats(self, pairs: Sequence[Pair]) -> list[float]:
        questions = [ids_of_text(self.backbone, prompt)[-QUESTION_TOKENS:] for prompt, _ in pairs]
        return [statistics.fmean(nats) for nats in self._nats([self.ids(text) for _, text in pairs], questions)]

    def _asked(self, prompt: str) -> list[int]:
        return chat_ids(self.backbone.tokenizer, [{"role": "user", "content": prompt}])[-2 * QUESTION_TOKENS :]

    @torch.no_grad()
    def _nats(self, before: Sequence[list[int]], texts: Sequence[list[int]]) -> list[list[float]]:
        """Log-probability of each token of the texts after what stands before; what is of like length is read together."""
        found: list[list[float]] = [[]] * len(texts)
        order = sorted(range(len(texts)), key=lambda row: len(before[row]) + len(texts[row]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            packed = pack([before[row] for row in rows], [texts[row] for row in rows])
            read = response_logprobs(self.backbone, packed, temperature=1.0)
            for row, nats, mask in zip(rows, read.logprobs, read.mask, strict=True):
                found[row] = nats[mask].tolist()
        return found


def words_of(tokens: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The words and numbers that tokens spell, in small letters, with the tokens of each."""
    words: list[tuple[str, list[int]]] = []
    joined = False  # whether a letter now would go on with the word before
    for at, token in enumerate(tokens):
        text = token.strip().lower()
        if not any(map(str.isalnum, text)):
            joined = False
        elif joined and not token[:1].isspace():
            words[-1] = words[-1][0] + text, [*words[-1][1], at]
        else:
            words.append((text, [at]))
            joined = True
    return words
