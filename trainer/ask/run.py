"""The ask run: a model outside answers prompts, some at once, each answer saved as it comes.

What may pass is asked again, later and later, and not before the other side wants it (Retry-After). Where the pace is too fast
for it, nobody is asked for a while, and no question is held against that while others are answered. A prompt that is refused, or
answered with nothing, is left out and named; only what no prompt could get past ends the run: a wrong key, a model that is not
there, nobody who answers. Tokens are counted as the other side counts them, for answers that were of no use, too.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, cast

from trainer.contract.folder import Cancelled, Refused, RunFolder, Unanswered, drop_broken_tail, read_jsonl
from trainer.contract.messages import Message, as_json
from trainer.contract.outside.address import CHAT, may_reach, problem_with
from trainer.contract.outside.chat import LIMITS, Answer, question, read_answer, wants_other_limit, why_refused
from trainer.contract.outside.key import UnusableKey, key_of
from trainer.contract.outside.post import NotAsked, Passing, TooLong, headers_with, post, silent
from trainer.contract.sample_config import AskConfig

GENERATIONS: Final = "generations.jsonl"
USAGE: Final = "usage.jsonl"
MOST_BYTES: Final = 4 * 2**20  # of a reply
WAITS_S: Final = (1.0, 4.0, 15.0, 60.0)  # before it is asked again
MOST_PAUSE_S: Final = 600.0  # who wants to be left alone for longer ends the run, which can be done again
LOOK_S: Final = 0.2  # between two looks whether the run is to stop
OF_ALL: Final = frozenset({401, 402, 403, 404, 405})  # refusals that every other prompt would get, too
TOO_FAST: Final = frozenset({429, 503})  # what the other side says to whoever asks too much, whatever is asked
IN_A_ROW: Final = 3  # questions without any reply, and nobody is there
MOST_NAMED: Final = 100  # of the prompts left out, in a result
MOST_LISTED: Final = 10  # likewise, in a sentence


@dataclass(frozen=True)
class Job:
    """One answer that is wanted: to which prompt, its number among those to it, and how often it was asked for in vain."""

    prompt_id: int
    number: int
    messages: Sequence[Mapping[str, str]]
    limit: str = LIMITS[0]  # the name under which the other side is told its length limit
    tries: int = 0
    answered: int = 0  # questions of the run that were, by its last try
    due: float = 0.0  # monotonic seconds, before which it is not asked

    @property
    def key(self) -> tuple[int, int]:
        return self.prompt_id, self.number


@dataclass
class Spent:
    """What the other side counted, all replies together."""

    prompt_tokens: int = 0
    answer_tokens: int = 0

    def add(self, prompt_tokens: int, answer_tokens: int) -> None:
        self.prompt_tokens += prompt_tokens
        self.answer_tokens += answer_tokens


def run(folder: RunFolder, waits_s: Sequence[float] = WAITS_S) -> None:
    """Have the model answer every prompt of prompts.jsonl `per_prompt` times, except where its answers are there.

    Raises Refused, and Unanswered where it may go another time.
    """
    asking = _Asking(folder, waits_s)
    if not asking.total:
        raise Refused(Message("no_prompt_to_answer"))
    started = time.monotonic()
    try:
        asking.work()
    except Cancelled:
        raise Cancelled(asking.figures()) from None
    except Refused as end:
        raise type(end)(end.message, asking.figures()) from None
    told = asking.told()
    if not asking.there:
        why = Message("asked_for_nothing", model=asking.model, error=told or Message("model_outside_said_nothing"))
        raise Refused(why, asking.figures())
    folder.finish("done", seconds=time.monotonic() - started, **asking.figures(), **({"reason": told} if told else {}))


@dataclass
class _Asking:
    """The questions of one run: which wait, which are on their way, and what came back."""

    folder: RunFolder
    waits_s: Sequence[float]
    waiting: deque[Job] = field(default_factory=deque)
    away: dict[int, tuple[Job, float]] = field(default_factory=dict)  # by their number: the question, until when it may take
    replies: queue.SimpleQueue[tuple[int, Answer | Exception]] = field(default_factory=queue.SimpleQueue)
    left_out: dict[int, Message] = field(default_factory=dict)  # prompts, with the reason
    spent: Spent = field(default_factory=Spent)
    asked: int = 0
    answered: int = 0
    in_vain: int = 0  # questions in a row that nobody replied to, however often they were put
    not_before: float = 0.0  # monotonic seconds: the other side wants a pause
    limit: str = LIMITS[0]

    def __post_init__(self) -> None:
        self.config = cast(AskConfig, self.folder.config)
        inputs = self.folder.inputs
        self.model: str = inputs["model"]
        self.key = _key(inputs.get("key_variable"))
        own_network = bool(inputs.get("own_network"))
        if problem := problem_with(inputs["address"], own_network=own_network):  # as of one registered under earlier rules
            raise Refused(problem)
        self.url = inputs["address"] + CHAT
        self.reaches = partial(may_reach, own_network=own_network)
        for name in (GENERATIONS, USAGE):
            drop_broken_tail(self.folder.file(name))
        self.there = {(row["prompt_id"], row["index"]) for row in read_jsonl(self.folder.file(GENERATIONS))}
        for row in read_jsonl(self.folder.file(USAGE)):
            self.spent.add(row["prompt_tokens"], row["answer_tokens"])
        jobs = [
            Job(row["prompt_id"], number, row["messages"])
            for row in read_jsonl(self.folder.file("prompts.jsonl"))
            for number in range(self.config.per_prompt)
        ]
        self.total = len(jobs)
        self.waiting.extend(job for job in jobs if job.key not in self.there)

    def work(self) -> None:
        self._say()
        while self.waiting or self.away:
            self.folder.check()
            self._send()
            try:
                number, reply = self.replies.get(timeout=LOOK_S)
            except queue.Empty:
                self._give_up_silent()
                continue
            if number in self.away:  # else it took too long, and was given up
                job, _until = self.away.pop(number)
                self._take(job, reply)

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"generations": len(self.there)}
        figures |= {"prompt_tokens": self.spent.prompt_tokens, "answer_tokens": self.spent.answer_tokens}
        if (prices := self.folder.inputs.get("usd_per_million")) is not None:
            paid = prices["prompt_tokens"] * self.spent.prompt_tokens + prices["answer_tokens"] * self.spent.answer_tokens
            figures["cost_usd"] = paid / 1e6
        if self.left_out:
            figures["unanswered_prompts"] = len(self.left_out)
            figures["unanswered_prompt_ids"] = list(self.left_out)[:MOST_NAMED]
            figures["unanswered_because"] = as_json(next(iter(self.left_out.values())))
        return figures

    def told(self) -> Message | None:
        """What was left out, for people; None where nothing was."""
        if not self.left_out:
            return None
        names = ", ".join(map(str, list(self.left_out)[:MOST_LISTED])) + (", …" if len(self.left_out) > MOST_LISTED else "")
        return Message("unanswered", count=len(self.left_out), names=names, because=next(iter(self.left_out.values())))

    # Asking

    def _send(self) -> None:
        """Put as many questions as may be on their way, those that are due."""
        now = time.monotonic()
        for _ in range(len(self.waiting)):
            if len(self.away) >= self.config.at_once or now < self.not_before:
                return
            job = self.waiting.popleft()
            if job.due > now:
                self.waiting.append(job)
                continue
            self.asked += 1
            job = replace(job, limit=self.limit)
            self.away[self.asked] = job, now + self.config.timeout_s
            # Daemons: whoever does not reply holds up neither a cancel nor the end.
            threading.Thread(target=self._ask, args=(self.asked, job), daemon=True).start()

    def _ask(self, number: int, job: Job) -> None:
        config = self.config
        try:
            body = question(
                job.messages,
                model=self.model,
                temperature=config.temperature,
                most_tokens=config.max_new_tokens,
                limit=job.limit,
            )
            headers = headers_with(self.key)
            reply = post(self.url, body, headers, timeout_s=config.timeout_s, most=MOST_BYTES, reaches=self.reaches)
            self.replies.put((number, read_answer(reply)))
        except Exception as error:
            self.replies.put((number, error))

    def _give_up_silent(self) -> None:
        now = time.monotonic()
        for number, (job, until) in list(self.away.items()):
            if now > until:
                del self.away[number]
                self._again(job, silent(self.config.timeout_s))

    # What came back

    def _take(self, job: Job, reply: Answer | Exception) -> None:
        if isinstance(reply, Answer):
            self.in_vain = 0
            self.answered += 1
            self._keep(job, reply)
        elif isinstance(reply, Passing):
            self._again(job, reply)
        elif isinstance(reply, NotAsked):
            self.in_vain = 0
            self._refused(job, reply)
        elif isinstance(reply, TooLong):
            self._leave_out(job, Message("model_outside_too_long", most=MOST_BYTES))
        else:
            raise reply

    def _keep(self, job: Job, answer: Answer) -> None:
        tokens = {"prompt_tokens": answer.prompt_tokens, "answer_tokens": answer.answer_tokens}
        self.folder.append(USAGE, [{"prompt_id": job.prompt_id, "index": job.number, **tokens}])
        self.spent.add(**tokens)
        if not answer.text:
            self._leave_out(job, Message("model_outside_said_nothing"))
            return
        row = {"prompt_id": job.prompt_id, "index": job.number, "seed": None, "text": answer.text, "token_ids": None}
        self.folder.append(GENERATIONS, [row | {"finish_reason": answer.finish_reason}])
        self.there.add(job.key)
        self._say()

    def _refused(self, job: Job, why: NotAsked) -> None:
        if wants_other_limit(job.limit, why.said):
            self.limit = LIMITS[1]
            self.waiting.appendleft(job)
            return
        reason = why_refused(why.status, why.said, self.key) if why.status else why.message
        if why.status in OF_ALL or not why.status or 300 <= why.status < 400:
            raise Refused(Message("model_outside_not_asked", model=self.model, error=reason))
        self._leave_out(job, reason)

    def _again(self, job: Job, why: Passing) -> None:
        now = time.monotonic()
        if why.after_s > MOST_PAUSE_S:
            raise Unanswered(Message("model_outside_wants_a_pause", model=self.model, minutes=math.ceil(why.after_s / 60)))
        goes_on = why.status in TOO_FAST and self.answered > job.answered
        tries = max(1, job.tries) if goes_on else job.tries + 1
        if tries <= len(self.waits_s):
            wait_s = self.waits_s[tries - 1]
            pause_s = why.after_s or (wait_s if why.status in TOO_FAST else 0.0)
            self.not_before = max(self.not_before, now + pause_s)
            self.waiting.append(replace(job, tries=tries, answered=self.answered, due=now + wait_s))
            return
        self.in_vain += 1
        if self.in_vain >= IN_A_ROW or self.in_vain == self.total:
            times = len(self.waits_s) + 1
            raise Unanswered(Message("model_outside_not_reached", model=self.model, times=times, error=why.message))
        self._leave_out(job, why.message)

    def _leave_out(self, job: Job, why: Message) -> None:
        self.left_out.setdefault(job.prompt_id, why)
        self._say()

    def _say(self) -> None:
        done = self.total - len(self.waiting) - len(self.away)
        tokens = self.spent.prompt_tokens + self.spent.answer_tokens
        self.folder.progress(done, self.total, Message("asking_outside", model=self.model, tokens=tokens))


def _key(variable: str | None) -> str | None:
    try:
        key = key_of(os.environ, variable)
    except UnusableKey as error:
        raise Refused(error.message) from None
    if variable and key is None:
        raise Refused(Message("key_not_set", variable=variable))
    return key
