"""The one thread that computes: it takes a job, opens what it asks for, and tells the client what comes of it.

It is the main thread, as a model's chat template can only be watched there. Answers to whoever asks the same models are written
together, several policies take turns token by token, and between two tokens a text is scored if one waits.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from trainer.contract.english import SpokenError
from trainer.contract.messages import Message, as_json
from trainer.contract.serving.questions import MOST_PROMPT_TOKENS, MOST_ROOM, Models, Scoring, Turn, Writing
from trainer.lm.backbone import Backbone, BackboneError, chat_ids, context_length, eos_ids
from trainer.reward.data import ids_of_text
from trainer.reward.head_files import jackknife_deviation
from trainer.serve.growing_text import GrowingText
from trainer.serve.jobs import Desk, Job
from trainer.serve.open_models import OpenModels, OpenPolicy
from trainer.serve.writing import Row, write

LOOK_S: Final = 0.2  # between two looks whether it is time to stop
MOST_BESIDE: Final = 2  # policies that write at once: each is slower for it
ENDED: Final = object()

Together = tuple[list[Job], list[Row]]  # clients whose answers are written together


class Stopped(SpokenError):
    """The process is to end, and so does what is being written."""

    def __init__(self) -> None:
        super().__init__(Message("serving_stops"))


@dataclass
class _Live:
    """Answers of one policy that are being written together, and those for which there was no room beside them."""

    policy: OpenPolicy
    ends: set[int]  # the tokens that end its answers
    name: str  # of the policy, as it was asked for
    jobs: list[Job]
    tokens: Iterator[None]
    waiting: list[Together]


class Engine:
    def __init__(self, desk: Desk, models: OpenModels, stopping: Callable[[], bool], used: Callable[[], None]) -> None:
        self._desk = desk
        self._models = models
        self._stopping = stopping
        self._used = used  # called after each job: the process is kept while it has some
        self._live: list[_Live] = []

    def run(self) -> None:
        """Until it is time to stop; who is served or waits then is told so."""
        while not self._stopping():
            job = self._next()
            if job is not None and isinstance(job.asked, Scoring):
                self._score(job, job.asked)
            elif job is not None:
                self._begin(job, job.asked.models)
            for one in list(self._live):
                self._write_on(one)
        served = [job for one in self._live for jobs in (one.jobs, *(jobs for jobs, _ in one.waiting)) for job in jobs]
        for left in (*served, *self._desk.close()):
            refuse(left, Stopped())

    def _next(self) -> Job | None:
        """Between two tokens a text to be scored, or answers of another policy, which takes its turns beside."""
        if not self._live:
            return self._desk.take(LOOK_S)
        beside = len(self._live) < MOST_BESIDE
        return self._desk.take_scoring() or (self._desk.take_beside([one.name for one in self._live]) if beside else None)

    # Scores

    def _score(self, job: Job, asked: Scoring) -> None:
        try:
            job.tell({"scores": self._scores(asked)})
            job.tell(None)
        except Exception as error:
            refuse(job, error)
        self._used()

    def _scores(self, asked: Scoring) -> list[dict[str, float | bool | None]]:
        scorer = self._models.scorer(asked.models)
        prompt = _prompt_ids(scorer.backbone, asked.messages)
        answers = [ids_of_text(scorer.backbone, text) for text in asked.texts]
        verdicts = scorer.verdicts([prompt] * len(answers), answers)
        if not bool(verdicts.scores.isfinite().all()):
            raise FloatingPointError("the scores of answers are not finite")
        members = verdicts.members
        deviations = [None] * len(answers) if members is None else jackknife_deviation(members).tolist()
        rows = zip(verdicts.scores.tolist(), deviations, answers, strict=True)
        return [
            {"score": score, "deviation": deviation, "shortened": len(prompt) + len(ids) > scorer.max_tokens}
            for score, deviation, ids in rows
        ]

    # Answers

    def _begin(self, first: Job, models: Models) -> None:
        """With it all who ask the same."""
        try:
            policy = self._models.policy(models)
            ends = eos_ids(policy.backbone)
        except Exception as error:
            refuse(first, error)
            return
        batch: list[tuple[Job, list[Row]]] = []
        for job in (first, *self._desk.take_alike(models)):
            try:
                batch.append((job, _rows(job, policy.backbone)))
            except Exception as error:
                refuse(job, error)
        together = [([job for job, _ in group], [row for _, rows in group for row in rows]) for group in _that_fit(batch)]
        writing = next((one for one in self._live if one.policy is policy), None)
        if writing is not None:  # under another name: its decoder has one batch at a time
            writing.waiting += together
        elif together:
            self._live.append(_Live(policy, ends, models.policy, [], iter(()), together))

    def _write_on(self, one: _Live) -> None:
        """One more token of each answer; where those are at their ends, the next ones begin, if there are any."""
        try:
            if next(one.tokens, ENDED) is not ENDED:
                return
        except Exception as error:
            self._leave(one.jobs, error)
        else:
            self._leave(one.jobs)
        one.jobs = []
        if not one.waiting:
            self._live.remove(one)
            return
        one.jobs, rows = one.waiting.pop(0)
        one.tokens = write(one.policy.decoder, rows, one.ends)

    def _leave(self, jobs: Sequence[Job], error: Exception | None = None) -> None:
        for job in jobs:
            if error is None:
                job.tell(None)
            else:
                refuse(job, error)
        if jobs:
            self._used()


def refuse(job: Job, error: Exception) -> None:
    """Tell a client why there is no more. What is no refusal is a mistake of ours: its words are for the log."""
    if isinstance(error, SpokenError):
        job.tell({"refused": as_json(error.message), "later": isinstance(error, Stopped)})
    elif isinstance(error, FloatingPointError):
        job.tell({"refused": as_json(Message("serving_not_finite")), "later": False})
    else:
        traceback.print_exception(error, file=sys.stderr)
        job.tell({"failed": True})
    job.tell(None)


def _rows(job: Job, backbone: Backbone) -> list[Row]:
    """A row for each answer that is asked for. The client is told how long their prompt is. Raises SpokenError."""
    asked = job.asked
    assert isinstance(asked, Writing)
    prompt = _prompt_ids(backbone, asked.messages)
    context = context_length(backbone)
    if context is not None and len(prompt) + asked.max_tokens > context:
        raise BackboneError(Message("context_too_short", prompt=len(prompt), answer=asked.max_tokens, context=context))
    room = len(asked.seeds) * (len(prompt) + asked.max_tokens)
    if room > MOST_ROOM:
        raise BackboneError(Message("serving_no_room", tokens=room, most=MOST_ROOM))
    job.tell({"prompt_tokens": len(prompt)})
    return [_row(job, asked, index, seed, prompt, GrowingText(backbone.tokenizer)) for index, seed in enumerate(asked.seeds)]


def _row(job: Job, asked: Writing, index: int, seed: int, prompt: list[int], text: GrowingText) -> Row:
    def tell(piece: str, **more: Any) -> None:
        if piece or more:
            job.tell({"index": index, "text": piece} | more)

    def end(why: Literal["eos", "length"], tokens: int) -> None:
        tell(text.end(), finish_reason=why, tokens=tokens, token_ids=text.ids)

    return Row(
        prompt_ids=prompt,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=seed,
        on_token=lambda token: tell(text.take(token)),
        on_end=end,
        gone=job.gone.is_set,
    )


def _prompt_ids(backbone: Backbone, messages: Sequence[Turn]) -> list[int]:
    ids = chat_ids(backbone.tokenizer, messages, backbone.day)
    if len(ids) > MOST_PROMPT_TOKENS:
        raise BackboneError(Message("prompt_too_long", tokens=MOST_PROMPT_TOKENS))
    return ids


def _that_fit(batch: Sequence[tuple[Job, list[Row]]]) -> Iterator[list[tuple[Job, list[Row]]]]:
    """Jobs in groups, in their order, for each of which there is room."""
    group: list[tuple[Job, list[Row]]] = []
    for one in batch:
        if group and _room([*group, one]) > MOST_ROOM:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _room(group: Sequence[tuple[Job, list[Row]]]) -> int:
    """Tokens for which keys and values are kept: every row has the room of the longest."""
    rows = [row for _, rows in group for row in rows]
    return len(rows) * (max(len(row.prompt_ids) for row in rows) + max(row.max_tokens for row in rows))
