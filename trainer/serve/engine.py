"""The one thread that computes: it takes a job, opens what it asks for, and tells the client what comes of it.

It is the main thread, as a model's chat template can only be watched there. Answers to whoever asks the same models are written
together, and between two tokens a text is scored if one waits.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
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


class Stopped(SpokenError):
    """The process is to end, and so does what is being written."""

    def __init__(self) -> None:
        super().__init__(Message("serving_stops"))


class Engine:
    def __init__(self, desk: Desk, models: OpenModels, stopping: Callable[[], bool], used: Callable[[], None]) -> None:
        self._desk = desk
        self._models = models
        self._stopping = stopping
        self._used = used  # called after each job: the process is kept while it has some

    def run(self) -> None:
        """Until it is time to stop; who waits then is told so."""
        while not self._stopping():
            job = self._desk.take(LOOK_S)
            if job is not None and isinstance(job.asked, Scoring):
                self._score(job, job.asked)
            elif job is not None:
                self._write(job, job.asked.models)
        for left in self._desk.close():
            refuse(left, Stopped())

    def _between(self) -> None:
        """Before each token of what is being written."""
        if self._stopping():
            raise Stopped
        job = self._desk.take_scoring()
        if job is not None and isinstance(job.asked, Scoring):
            self._score(job, job.asked)

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

    def _write(self, first: Job, models: Models) -> None:
        try:
            policy = self._models.policy(models)
        except Exception as error:
            refuse(first, error)
            return
        batch: list[tuple[Job, list[Row]]] = []
        for job in (first, *self._desk.take_alike(models)):
            try:
                batch.append((job, _rows(job, policy.backbone)))
            except Exception as error:
                refuse(job, error)
        for together in _that_fit(batch):
            self._write_together([job for job, _ in together], [row for _, rows in together for row in rows], policy)
            self._used()

    def _write_together(self, jobs: Sequence[Job], rows: Sequence[Row], policy: OpenPolicy) -> None:
        try:
            write(policy.decoder, rows, eos_ids(policy.backbone), self._between)
        except Exception as error:
            for job in jobs:
                refuse(job, error)
            return
        for job in jobs:
            job.tell(None)


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
