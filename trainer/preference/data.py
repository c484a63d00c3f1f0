"""Labels -> what a policy learns from: pairs of answers for DPO, answers judged alone for KTO; some prompts are held out.

Only which answers were preferred, or rated well or ill, is asked; strength, criteria and flags say nothing here. Knows files and
a tokenizer; no model, no optimiser.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from trainer.contract.config import PreferenceConfig
from trainer.contract.offline_config import BAD_RATING, GOOD_RATING
from trainer.lm.backbone import Backbone, context_length, end_id
from trainer.lm.chat_template import text_ids
from trainer.lm.left_out import LeftOut, Name
from trainer.reward.data import Answer, Labels, first_of_each_prompt

PARTS = 10  # one of them is held out; fewer prompts than parts are all learned from


class Text(NamedTuple):
    """Token ids of a prompt and of an answer to it, the end token included where the answer has one."""

    prompt_ids: list[int]
    response_ids: list[int]


class Pair(NamedTuple):
    """A comparison that one answer won; indices into `Material.texts`."""

    chosen: int
    rejected: int


class Single(NamedTuple):
    """An answer that was judged; indices into `Material.texts`."""

    answer: int
    desirable: bool
    stranger: int  # its prompt with an answer to another


Example = TypeVar("Example", Pair, Single)


@dataclass
class Material(Generic[Example]):
    """What a run learns from, and what it is asked about."""

    texts: list[Text] = field(default_factory=list)
    training: list[Example] = field(default_factory=list)
    held_out: list[Example] = field(default_factory=list)
    prompts: int = 0  # different ones, in both
    clusters: list[str] = field(default_factory=list)  # the prompt (hash) of each that is held out
    judgements: int = 0  # that say which answers are good, those left out included
    asked: dict[Name, list[int]] = field(default_factory=dict)  # prompts by what people know them by: their token ids
    out: set[str] = field(default_factory=set)  # keys of the prompts that are held out

    def holds_out(self, turns: Sequence[Mapping[str, str]]) -> bool:
        """Whether this prompt is held out, so that a demonstration of an answer to it must not be learned from either."""
        return Answer(tuple((turn["role"], turn["content"]) for turn in turns), "", None).prompt_key in self.out


class _Judged(NamedTuple):
    """What a label says; answers are indices into `Labels.answers`."""

    prompt_key: str
    chosen: int | None
    rejected: int | None


def pairs(backbone: Backbone, labels: Labels, config: PreferenceConfig, left_out: LeftOut) -> Material[Pair]:
    """Comparisons and rewrites that prefer one answer, and each two answers that a ranking tells apart; what does not fit the
    settings is left out, and noted.
    """
    found = [
        _Judged(label.prompt_key, *((label.left, label.right) if label.choice == "left" else (label.right, label.left)))
        for label in labels.comparisons
        if label.choice in ("left", "right")
    ]
    found += [_Judged(label.prompt_key, better, worse) for label in labels.rankings for better, worse in label.pairs]
    return _material(backbone, labels, config, left_out, found, _as_pairs)


def singles(backbone: Backbone, labels: Labels, config: PreferenceConfig, left_out: LeftOut) -> Material[Single]:
    """Every answer that was preferred, ranked first, rated 4 or 5, beaten, ranked last, rated 1 or 2, or all bad."""
    found = []
    for label in labels.comparisons:
        if label.choice in ("left", "right"):
            chosen, rejected = (label.left, label.right) if label.choice == "left" else (label.right, label.left)
            found += [_Judged(label.prompt_key, chosen, None), _Judged(label.prompt_key, None, rejected)]
        elif label.choice == "both_bad":
            found += [_Judged(label.prompt_key, None, answer) for answer in (label.left, label.right)]
    for ranking in labels.rankings:
        found += [_Judged(ranking.prompt_key, answer, None) for answer in ranking.best]
        bad = ranking.answers if ranking.all_bad else ranking.worst
        found += [_Judged(ranking.prompt_key, None, answer) for answer in bad]
    for rating in labels.ratings:
        if rating.overall >= GOOD_RATING:
            found.append(_Judged(rating.prompt_key, rating.answer, None))
        elif rating.overall <= BAD_RATING:
            found.append(_Judged(rating.prompt_key, None, rating.answer))
    return _material(backbone, labels, config, left_out, found, _as_singles)


def _material(
    backbone: Backbone,
    labels: Labels,
    config: PreferenceConfig,
    left_out: LeftOut,
    found: list[_Judged],
    examples: Callable[[list[_Judged], dict[int, int], list[Text], int], list[Example]],
) -> Material[Example]:
    """Examples of both parts, and the texts that they speak of."""
    asked = sorted({at for one in found for at in (one.chosen, one.rejected) if at is not None})
    texts: list[Text] = []
    place: dict[int, int] = {}  # of an answer, in `texts`
    for answer, text in zip(asked, encode(backbone, [labels.answers[at] for at in asked], config, left_out), strict=True):
        if text is not None:
            place[answer] = len(texts)
            texts.append(text)
    usable = [one for one in found if all(at is None or at in place for at in (one.chosen, one.rejected))]
    out = held_out_prompts({one.prompt_key for one in usable})
    training, held_out = (
        examples([one for one in usable if (one.prompt_key in out) is held], place, texts, config.seed) for held in (False, True)
    )
    clusters = [one.prompt_key for one in usable if one.prompt_key in out]
    names = {labels.answers[answer].prompt_name: texts[at].prompt_ids for answer, at in place.items()}
    return Material(texts, training, held_out, len({one.prompt_key for one in usable}), clusters, len(found), names, out)


def held_out_prompts(keys: set[str]) -> set[str]:
    """About a tenth of the prompts (hashes), each by its own salted hash; none of fewer than ten.

    It depends on no other prompt, on no method and on no seed: what one run learned from chooses the step of no later one.
    """
    return {key for key in keys if _held_out(key)} if len(keys) >= PARTS else set()


def _held_out(key: str) -> bool:
    digest = hashlib.sha256(f"held out of preferences:{key}".encode()).digest()
    return int.from_bytes(digest[:8]) % PARTS == 0


def encode(backbone: Backbone, answers: Sequence[Answer], config: PreferenceConfig, left_out: LeftOut) -> list[Text | None]:
    """Token ids of answers under their prompts, each different prompt put into the chat template once; None where it is left out.

    An answer that a model of ours wrote keeps the tokens it was drawn by; any other ends where its author ended it.
    """
    prompts = {
        messages: _prompt_ids(backbone, answer, config, left_out) for messages, answer in first_of_each_prompt(answers).items()
    }
    texts: list[Text | None] = []
    for answer in answers:
        ids = prompts[answer.messages]
        if answer.token_ids:
            own = list(answer.token_ids)
        else:
            own = text_ids(backbone.tokenizer, answer.text, answer.prompt_name) + ([] if answer.cut else [end_id(backbone)])
        texts.append(Text(ids, own[: config.max_new_tokens]) if ids is not None and own else None)
    return texts


def _prompt_ids(backbone: Backbone, answer: Answer, config: PreferenceConfig, left_out: LeftOut) -> list[int] | None:
    longest = min(config.max_prompt_tokens, (context_length(backbone) or 2**31) - config.max_new_tokens)
    ids = left_out.chat_ids(backbone, answer.prompt_name, answer.conversation)
    if ids is not None and len(ids) > longest:
        left_out.too_long(answer.prompt_name, longest)
        return None
    return ids


def _as_pairs(found: list[_Judged], place: dict[int, int], _texts: list[Text], _seed: int) -> list[Pair]:
    return [Pair(place[one.chosen], place[one.rejected]) for one in found if one.chosen is not None and one.rejected is not None]


def _as_singles(found: list[_Judged], place: dict[int, int], texts: list[Text], seed: int) -> list[Single]:
    """Each with a stranger, which is a text more: the answer of the next in a drawn order whose prompt is another."""
    own = [(one.prompt_key, place[answer], one.chosen is not None) for one in found if (answer := _answer(one)) is not None]
    order = list(range(len(own)))
    random.Random(seed).shuffle(order)
    singles = []
    for at, number in enumerate(order):
        key, answer, desirable = own[number]
        others = (order[(at + step) % len(order)] for step in range(1, len(order)))
        other = next((one for one in others if own[one][0] != key), number)  # all are about one prompt: its own answer
        texts.append(Text(texts[answer].prompt_ids, texts[own[other][1]].response_ids))
        singles.append((number, Single(answer, desirable, len(texts) - 1)))
    return [single for _, single in sorted(singles)]


def _answer(one: _Judged) -> int | None:
    return one.chosen if one.chosen is not None else one.rejected
