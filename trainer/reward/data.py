"""`preferences.jsonl`, `ratings.jsonl`, `rankings.jsonl`, `panel.jsonl` -> answers, judgements, flags, token sequences, folds.

Knows files and a tokenizer; no model, no database. An answer that several judgements speak of is kept once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from trainer.contract.judgements.order import Order, order_of
from trainer.contract.messages import Message
from trainer.files.readable import Unusable, must_be_one_of, rows
from trainer.lm.backbone import Backbone, chat_ids, context_length, end_id, eos_ids
from trainer.lm.chat_template import text_ids
from trainer.lm.left_out import LeftOut, Name
from trainer.reward.people.checks import Checks, read_checks
from trainer.reward.rankings.ranking import Ranking
from trainer.reward.rubric import Answered, Rubric, read_rubric

CHOICES = ("left", "right", "tie", "both_bad")
SOURCES = ("verdict", "rewrite")
UNBOUNDED: Final = 2**31  # tokens, of a model that sets no bound
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Answer:
    """One answer to one prompt. `token_ids` are kept where the model wrote it, so that nothing is tokenised twice."""

    messages: tuple[tuple[str, str], ...]  # (role, content)
    text: str
    token_ids: tuple[int, ...] | None
    cut: bool = False  # by the limit on tokens, in the middle of what it had to say
    prompt_id: Name | None = field(default=None, compare=False)  # by which people know the prompt

    @property
    def conversation(self) -> list[dict[str, str]]:
        """The prompt as a chat template takes it."""
        return [{"role": role, "content": content} for role, content in self.messages]

    @property
    def prompt_name(self) -> Name:
        """What the prompt is called where it is left out."""
        return self.prompt_key[:12] if self.prompt_id is None else self.prompt_id

    @property
    def prompt_key(self) -> str:
        """The prompt's hash: what folds and intervals go by. Two rows with the same words are one prompt."""
        return hashlib.sha256(json.dumps(self.messages, ensure_ascii=False).encode()).hexdigest()


class Comparison(NamedTuple):
    left: int  # index into Labels.answers
    right: int
    choice: str  # one of CHOICES
    strength: int | None  # 1 slightly, 2, 3 much
    annotator: str
    prompt_key: str
    source: str = "verdict"  # or "rewrite": a person's own text beside the answer that it improves
    criteria: Mapping[str, str] = NOTHING  # criterion -> left, right or tie

    @property
    def is_verdict(self) -> bool:
        """Whether a person judged two answers. A rewrite teaches, too, but nobody compared it: it counts in no accuracy."""
        return self.source == "verdict"


class Rating(NamedTuple):
    answer: int  # index into Labels.answers
    overall: int  # 1 to 5
    annotator: str
    prompt_key: str
    criteria: Mapping[str, int] = NOTHING  # criterion -> 1 to 5
    weight: float = 1.0


class FlagJudgement(NamedTuple):
    """One person saw one answer and flagged it, or did not."""

    answer: int
    flags: frozenset[str]
    annotator: str
    prompt_key: str


@dataclass
class Labels:
    """Every usable judgement of a run; `skipped` counts those that compare an answer with itself."""

    answers: list[Answer] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    flag_judgements: list[FlagJudgement] = field(default_factory=list)
    rubric: list[Answered] = field(default_factory=list)
    panel: list[int] = field(default_factory=list)  # indices into answers
    skipped: int = 0
    checks: dict[str, Checks] = field(default_factory=dict)  # what repeats and known answers say of each person

    @property
    def usable(self) -> int:
        """Verdicts, each once: a rewrite belongs to the verdict it came with."""
        return sum(label.is_verdict for label in self.comparisons) + len(self.ratings) + len(self.rankings)

    @property
    def criteria(self) -> list[str]:
        """Keys of the criteria that anybody judged by."""
        judged: list[Comparison | Rating] = [*self.comparisons, *self.ratings]
        return sorted({key for label in judged for key in label.criteria})

    def answering(self, item: str) -> Labels:
        """The answers to one question of the rubric, as ratings of two points."""
        found = [one for one in self.rubric if one.item == item]
        said = (Rating(one.answer, one.said, one.annotator, one.prompt_key) for one in found if one.said)
        return replace(self, comparisons=[], ratings=list(said), rankings=[])

    def by(self, criterion: str) -> Labels:
        """The same judgements as said of one criterion, where it was."""
        return replace(
            self,
            comparisons=[
                label._replace(choice=label.criteria[criterion], strength=None)
                for label in self.comparisons
                if criterion in label.criteria
            ],
            ratings=[label._replace(overall=label.criteria[criterion]) for label in self.ratings if criterion in label.criteria],
            rankings=[],
        )

    @property
    def judged(self) -> list[Answer]:
        """The answers that anybody judged."""
        indices = {label.answer for label in self.ratings} | {index for label in self.rankings for index in label.answers}
        indices |= {index for label in self.comparisons if label.is_verdict for index in (label.left, label.right)}
        return [self.answers[index] for index in sorted(indices)]

    @property
    def prompt_keys(self) -> list[str]:
        """The judged prompts, sorted by hash."""
        judged: list[Comparison | Rating | Ranking] = [*self.comparisons, *self.ratings, *self.rankings]
        return sorted({label.prompt_key for label in judged})

    def about(self, kept: Sequence[int]) -> Labels:
        """The judgements that speak of these answers alone (indices), which are numbered anew, in this order."""
        at = {answer: place for place, answer in enumerate(kept)}
        return replace(
            self,
            answers=[self.answers[answer] for answer in kept],
            comparisons=[
                label._replace(left=at[label.left], right=at[label.right])
                for label in self.comparisons
                if label.left in at and label.right in at
            ],
            ratings=[label._replace(answer=at[label.answer]) for label in self.ratings if label.answer in at],
            rankings=[
                label._replace(answers=tuple(at[answer] for answer in label.answers))
                for label in self.rankings
                if at.keys() >= set(label.answers)
            ],
            flag_judgements=[given._replace(answer=at[given.answer]) for given in self.flag_judgements if given.answer in at],
            rubric=[one._replace(answer=at[one.answer]) for one in self.rubric if one.answer in at],
            panel=[at[answer] for answer in self.panel if answer in at],
        )

    def by_people(self, names: Collection[str]) -> Labels:
        """The judgements of these people, about the same answers."""
        return self._where(lambda said: said.annotator in names)

    def on(self, prompts: Collection[str]) -> Labels:
        """The judgements on these prompts (hashes), about the same answers."""
        return self._where(lambda said: said.prompt_key in prompts)

    def _where(self, holds: Callable[[Comparison | Rating | Ranking | FlagJudgement | Answered], bool]) -> Labels:
        kinds = ("comparisons", "ratings", "rankings", "flag_judgements", "rubric")
        kept: dict[str, Any] = {kind: [said for said in getattr(self, kind) if holds(said)] for kind in kinds}
        return replace(self, **kept)


def read_labels(folder: Path) -> Labels:
    """Read the files of a reward run. Raises Refused, naming the file and the line, on one that breaks the format."""
    labels, known = Labels(), dict[Answer, int]()

    def index(answer: Answer) -> int:
        if answer not in known:
            known[answer] = len(labels.answers)
            labels.answers.append(answer)
        return known[answer]

    def answered(answer: Answer, rubric: Mapping[str, int | None], annotator: str) -> None:
        labels.rubric += [Answered(index(answer), item, said, annotator, answer.prompt_key) for item, said in rubric.items()]

    for said in rows(folder / "preferences.jsonl", _comparison):
        key = said.left.prompt_key
        if said.source == "verdict":
            for side, answer in (("left", said.left), ("right", said.right)):
                labels.flag_judgements.append(FlagJudgement(index(answer), said.flags[side], said.annotator, key))
                answered(answer, said.rubric[side], said.annotator)
        if said.left.text == said.right.text:
            labels.skipped += 1
            continue
        labels.comparisons.append(
            Comparison(
                index(said.left), index(said.right), said.choice, said.strength, said.annotator, key, said.source, said.criteria
            )
        )
    for answer, overall, annotator, flags, criteria, rubric in rows(folder / "ratings.jsonl", _rating):
        labels.ratings.append(Rating(index(answer), overall, annotator, answer.prompt_key, criteria))
        labels.flag_judgements.append(FlagJudgement(index(answer), flags, annotator, answer.prompt_key))
        answered(answer, rubric, annotator)
    for answers, order, all_bad, annotator, flagged in rows(folder / "rankings.jsonl", _ranking):
        key = answers[0].prompt_key
        for place, answer in enumerate(answers, start=1):
            labels.flag_judgements.append(FlagJudgement(index(answer), frozenset(flagged.get(str(place), ())), annotator, key))
        if len({answer.text for answer in answers}) < len(answers):
            labels.skipped += 1
            continue
        known_as = tuple(index(answer) for answer in answers)
        labels.rankings.append(Ranking(known_as, order.order, order.last, all_bad, annotator, key))
    labels.panel = [index(answer) for answer in rows(folder / "panel.jsonl", _panel)]
    labels.checks = read_checks(folder)
    return labels


def folds(keys: Sequence[str], count: int, seed: int = 0) -> dict[str, int]:
    """The fold of every prompt hash: prompts in the order of their salted hash are dealt out in turn.

    A prompt is in one fold with all its judgements, so that nothing about a held-out prompt was trained on.
    """
    unique = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    return {key: position % count for position, key in enumerate(unique)}


class TokenSequence(NamedTuple):
    """A prompt and an answer as the model reads them: the prompt's tail, then the answer's head, at most max_tokens in all."""

    prompt_ids: list[int]
    response_ids: list[int]  # at least one; without the end token, unless the answer is nothing else
    cut: bool = False  # so that no end is to be read after it
    shortened: bool = False  # to `max_tokens`

    @property
    def ids(self) -> list[int]:
        """Prompt and answer, as one text."""
        return [*self.prompt_ids, *self.response_ids]

    @property
    def digest(self) -> str:
        """Names what the features depend on: these ids, and where the answer starts; not its end, which they leave out."""
        return hashlib.sha256(json.dumps([self.prompt_ids, self.response_ids]).encode()).hexdigest()


def most_tokens(backbone: Backbone, max_tokens: int) -> int:
    """How many tokens of a prompt and an answer are read where the setting says `max_tokens`: with 0, what the model holds."""
    return max_tokens or context_length(backbone) or UNBOUNDED


def encode(backbone: Backbone, answer: Answer, max_tokens: int) -> TokenSequence:
    """Token ids of an answer under its prompt."""
    return encode_all(backbone, [answer], max_tokens)[0]


def encode_all(backbone: Backbone, answers: Sequence[Answer], max_tokens: int) -> list[TokenSequence]:
    """Token ids of answers under their prompts, each different prompt put into the chat template once."""
    prompts = {
        messages: chat_ids(backbone.tokenizer, answer.conversation, backbone.day)
        for messages, answer in first_of_each_prompt(answers).items()
    }
    return [_sequence(backbone, answer, prompts[answer.messages], max_tokens) for answer in answers]


def encode_labels(backbone: Backbone, labels: Labels, max_tokens: int, left_out: LeftOut) -> tuple[Labels, list[TokenSequence]]:
    """The labels on prompts that the model's chat template takes, and `encode_all` of their answers; other prompts are noted."""
    prompts = {
        messages: left_out.chat_ids(backbone, answer.prompt_name, answer.conversation)
        for messages, answer in first_of_each_prompt(labels.answers).items()
    }
    kept = [index for index, answer in enumerate(labels.answers) if prompts[answer.messages] is not None]
    readable = labels.about(kept)
    return readable, [_sequence(backbone, answer, prompts[answer.messages] or [], max_tokens) for answer in readable.answers]


def first_of_each_prompt(answers: Sequence[Answer]) -> dict[tuple[tuple[str, str], ...], Answer]:
    """By prompt, the first answer to it."""
    found: dict[tuple[tuple[str, str], ...], Answer] = {}
    for answer in answers:
        found.setdefault(answer.messages, answer)
    return found


def _sequence(backbone: Backbone, answer: Answer, prompt_ids: list[int], max_tokens: int) -> TokenSequence:
    """The text is tokenised only where its ids were not kept."""
    own = list(answer.token_ids) if answer.token_ids else ids_of_text(backbone, answer.text, answer.prompt_name)
    return token_sequence(prompt_ids, own, eos_ids(backbone), max_tokens, answer.cut)


def ids_of_text(backbone: Backbone, text: str, prompt: int | str | None = None) -> list[int]:
    """Token ids of an answer that is known by its text; where it says nothing it is one that ended at once. Raises Refused,
    naming its prompt, where the tokenizer cannot read it.
    """
    return text_ids(backbone.tokenizer, text, prompt) or [end_id(backbone)]


def token_sequence(
    prompt_ids: list[int], response_ids: list[int], ends: set[int], max_tokens: int, cut: bool = False
) -> TokenSequence:
    """Strip the end token, keep within `max_tokens`: an answer takes at most three quarters where its prompt needs the rest."""
    whole = response_ids[: content_length(response_ids, ends)]
    response = whole[: max_tokens - min(len(prompt_ids), max_tokens // 4)]
    prompt = prompt_ids[-(max_tokens - len(response)) :]
    return TokenSequence(prompt, response, cut, len(prompt) + len(response) < len(prompt_ids) + len(whole))


def content_length(response_ids: Sequence[int], ends: set[int]) -> int:
    """Tokens of an answer without those that end it; an answer that is nothing else keeps its first."""
    length = len(response_ids)
    while length > 1 and response_ids[length - 1] in ends:
        length -= 1
    return length


def answer_in(row: dict[str, Any], part: str) -> Answer:
    messages = row["messages"]
    if not messages:
        raise Unusable(Message("part_empty", part="messages"))
    response = row[part]
    ids = response.get("token_ids")
    return Answer(
        tuple((str(message["role"]), str(message["content"])) for message in messages),
        str(response["text"]),
        tuple(int(token) for token in ids) if ids else None,
        bool(response.get("cut", False)),
        row.get("prompt_id"),
    )


class _Said(NamedTuple):
    """A row of preferences.jsonl."""

    left: Answer
    right: Answer
    choice: str
    strength: int | None
    annotator: str
    source: str
    criteria: Mapping[str, str]
    flags: dict[str, frozenset[str]]
    rubric: Rubric


def _comparison(row: dict[str, Any]) -> _Said:
    criteria, source = row.get("criteria") or NOTHING, row.get("source", "verdict")
    if row["choice"] not in CHOICES:
        raise must_be_one_of("choice", *CHOICES)
    if row.get("strength") not in (None, 1, 2, 3):
        raise must_be_one_of("strength", "1", "2", "3", "null")
    if source not in SOURCES:
        raise must_be_one_of("source", *SOURCES)
    if any(choice not in ("left", "right", "tie") for choice in criteria.values()):
        raise Unusable(Message("criterion_unreadable", choices="left, right, tie"))
    flags = row.get("flags") or {}
    return _Said(
        answer_in(row, "left"),
        answer_in(row, "right"),
        row["choice"],
        row.get("strength"),
        str(row["annotator"]),
        source,
        criteria,
        {side: frozenset(flags.get(side, ())) for side in ("left", "right")},
        read_rubric(row, ("left", "right")),
    )


def _rating(row: dict[str, Any]) -> tuple[Answer, int, str, frozenset[str], Mapping[str, int], Mapping[str, int | None]]:
    criteria = row.get("criteria") or NOTHING
    if any(score not in (1, 2, 3, 4, 5) for score in (row["overall"], *criteria.values())):
        raise Unusable(Message("scores_unreadable"))
    answer = answer_in(row, "response")
    flags, rubric = frozenset(row.get("flags") or ()), read_rubric(row, ("response",))["response"]
    return answer, int(row["overall"]), str(row["annotator"]), flags, criteria, rubric


def _ranking(row: dict[str, Any]) -> tuple[list[Answer], Order, bool, str, Mapping[str, Sequence[str]]]:
    """Answers are numbered from 1 in the file, as they were shown."""
    answers = [answer_in({**row, "shown": shown}, "shown") for shown in row["answers"]]
    order = order_of(row, len(answers))
    if len(answers) < 2 or not order.is_sound:
        raise Unusable(Message("order_unreadable"))
    return answers, order, bool(row.get("all_bad", False)), str(row["annotator"]), row.get("flags") or NOTHING


def _panel(row: dict[str, Any]) -> Answer:
    return answer_in(row, "response")
