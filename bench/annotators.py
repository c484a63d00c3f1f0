"""Simulated people: they claim tasks over HTTP, judge by a hidden preference, err now and then, and submit."""

from __future__ import annotations

import math
import random
import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import httpx

from bench.preferences import Preference

FLIPPED = 0.15  # of the verdicts that name a side
NEAR_TIE = 0.05  # of the usual difference: closer answers are called a tie
WAIT_S = 0.5  # when the queue is empty for the moment


@dataclass(frozen=True)
class Taste:
    """What these people like, and how small a difference they do not see. Answers that score -inf are bad to them."""

    score: Preference
    tie_within: float
    scale: float = 1.0  # of liking, in units of the noise with which answers that are ranked are perceived

    def said(self, task: dict[str, Any], draw: random.Random) -> dict[str, Any]:
        """The verdict on a task, a comparison or a ranking, as it is sent."""
        return self.ranking(task, draw) if task["kind"] == "ranking" else {"choice": self.verdict(task, draw)}

    def ranking(self, task: dict[str, Any], draw: random.Random) -> dict[str, Any]:
        """An order of all answers, each perceived with Gumbel noise (Plackett-Luce); the bad ones are equally last."""
        prompt = last_words(task["prompt"]["messages"])
        liked = {number: self.score(prompt, answer["text"]) for number, answer in enumerate(task["answers"], 1)}
        bad = [number for number, score in liked.items() if score == -math.inf]
        if len(bad) == len(liked):
            return {"ranking": [], "all_bad": True}
        perceived = {number: self.scale * score + gumbel(draw) for number, score in liked.items() if score != -math.inf}
        return {"ranking": [[number] for number in sorted(perceived, key=lambda number: -perceived[number])], "last": bad}

    def verdict(self, task: dict[str, Any], draw: random.Random) -> str:
        prompt = last_words(task["prompt"]["messages"])
        left, right = (self.score(prompt, task[side]["text"]) for side in ("left", "right"))
        if left == right == -math.inf:
            return "both_bad"
        difference = right - left
        if abs(difference) <= self.tie_within:
            return "tie"
        side = "right" if difference > 0 else "left"
        flipped = {"right": "left", "left": "right"}[side]
        return flipped if draw.random() < FLIPPED else side


def taste_of(score: Preference, answers: Sequence[tuple[str, Sequence[str]]]) -> Taste:
    """`answers`: prompts and their answers, from which the usual difference between two answers is taken."""
    liked = [[found for text in texts if math.isfinite(found := score(prompt, text))] for prompt, texts in answers]
    differences = [abs(left - right) for some in liked for left, right in combinations(some, 2)]
    apart = [difference for difference in differences if difference]
    return Taste(score, NEAR_TIE * statistics.fmean(differences), scale_of(apart, FLIPPED) if apart else 1.0)


def gumbel(draw: random.Random) -> float:
    return -math.log(-math.log(min(max(draw.random(), 1e-12), 1 - 1e-12)))


def scale_of(differences: Sequence[float], flipped: float) -> float:
    """By which liking is multiplied so that so many of these pairs are turned round by Gumbel noise."""

    def turned(scale: float) -> float:
        return statistics.fmean(1 / (1 + math.exp(min(scale * abs(one), 500.0))) for one in differences)

    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if turned(middle) > flipped else (low, middle)
    return math.sqrt(low * high)


def last_words(messages: Sequence[dict[str, str]]) -> str:
    """What the person said last: a preference looks at one text, not at a conversation."""
    return messages[-1]["content"]


@dataclass
class Heard:
    """What people were told who send everything again until it is answered."""

    acknowledged: dict[str, int] = field(default_factory=dict)  # client_id -> task
    troubles: list[tuple[float, int]] = field(default_factory=list)  # when, by `time.monotonic`, and 503, or 0 for no answer
    errors: list[str] = field(default_factory=list)
    longest_s: float = 0.0


def until_answered(
    client: httpx.Client, urls: Sequence[str], path: str, body: Any, draw: random.Random, heard: Heard, patience_s: float
) -> dict[str, Any] | None:
    """The reply, of one of the servers; none for a refusal, which is noted. A lost connection and a 503 are tried again."""
    began = time.monotonic()
    while time.monotonic() < began + patience_s:
        try:
            reply = client.post(f"{draw.choice(urls)}/api/v1{path}", json=body)
        except httpx.TransportError:
            heard.troubles.append((time.monotonic(), 0))
        else:
            if reply.status_code == 503:
                heard.troubles.append((time.monotonic(), 503))
            else:
                heard.longest_s = max(heard.longest_s, time.monotonic() - began)
                if reply.status_code == 204:
                    return {}
                if reply.is_success:
                    answer: dict[str, Any] = reply.json()
                    return answer
                heard.errors.append(f"{path} {reply.status_code} {reply.text[:200]}")
                return None
        time.sleep(0.2)
    heard.errors.append(f"{path}: no answer")
    return None


def work(url: str, slug: str, keys: Sequence[str], taste: Taste, labels: int, patience_s: float, seed: int = 0) -> int:
    """All people at once, until there are so many labels; returns how many. Raises RuntimeError on any refusal."""
    counter = _Counter(labels)
    with ThreadPoolExecutor(len(keys)) as pool:
        shifts = [
            pool.submit(_shift, url, slug, key, taste, counter, patience_s, seed + number) for number, key in enumerate(keys)
        ]
        for shift in shifts:
            shift.result()
    return counter.done


def work_in_turn(url: str, slug: str, keys: Sequence[str], taste: Taste, labels: int, patience_s: float, seed: int = 0) -> int:
    """The same by one after the other, in the thread of the caller: for a taste that reads texts which it never saw before."""
    for number, key in enumerate(keys):
        share = labels * (number + 1) // len(keys) - labels * number // len(keys)
        _shift(url, slug, key, taste, _Counter(share), patience_s, seed + number)
    return labels


class _Counter:
    """How many labels are still wanted; several people take from it."""

    def __init__(self, wanted: int) -> None:
        self._lock = threading.Lock()
        self._wanted = wanted
        self.done = 0

    def take(self) -> bool:
        with self._lock:
            if self._wanted == 0:
                return False
            self._wanted -= 1
            return True

    def gave(self) -> None:
        with self._lock:
            self.done += 1


def _shift(url: str, slug: str, key: str, taste: Taste, counter: _Counter, patience_s: float, seed: int) -> None:
    draw = random.Random(seed)
    with httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        while counter.take():
            task = _next_task(client, slug, patience_s)
            body = {"client_id": str(uuid.uuid4()), "active_ms": 1500} | taste.said(task, draw)
            reply = client.post(f"/tasks/{task['id']}/label", json=body)
            if reply.status_code != 201:
                raise RuntimeError(f"a label was answered {reply.status_code}: {reply.text}")
            counter.gave()


def _next_task(client: httpx.Client, slug: str, patience_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        reply = client.post(f"/projects/{slug}/tasks/next")
        if reply.status_code == 200:
            task: dict[str, Any] = reply.json()
            return task
        if reply.status_code != 204:
            raise RuntimeError(f"the next task was answered {reply.status_code}: {reply.text}")
        time.sleep(WAIT_S)
    raise RuntimeError(f"no task for {patience_s:.0f} s")
