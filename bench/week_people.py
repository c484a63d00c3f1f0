"""The people of `bench/week.py`: they judge by a taste, write now and then, correct some verdicts and take some back.

Whatever they send is written down before it is sent, so that what a database holds can be compared with it.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.annotators import NEAR_TIE, Heard, Taste, last_words, taste_of, until_answered
from bench.installation import SLUG, Installation
from bench.preferences import find

CORRECTED, WITHDRAWN, WRITTEN = 0.05, 0.02, 0.06  # shares of what people do
EMPTY_S = 1.0  # before somebody for whom there is no task asks again
PATIENCE_S = 300.0
COMMENTS = ("=1+1", 'He said "no", twice,\nand left.', "不對，第二句說反了。", "Ünï\tcode 🙂", "-- ok")


@dataclass
class Said:
    """One verdict, correction or withdrawal. Moments are of `time.monotonic`."""

    task: int
    body: dict[str, Any]  # what was sent; of a withdrawal, what was withdrawn
    withdraws: bool
    sent_at: float
    answered_at: float | None = None


@dataclass
class Ledger:
    """What everybody sent, by `client_id`, and what they heard."""

    said: dict[str, Said] = field(default_factory=dict)
    heard: Heard = field(default_factory=Heard)
    claims: int = 0
    empty: int = 0

    def acknowledged_by(self, moment: float) -> set[str]:
        return {name for name, said in list(self.said.items()) if said.answered_at is not None and said.answered_at <= moment}

    def sent_by(self, moment: float) -> set[str]:
        return {name for name, said in list(self.said.items()) if said.sent_at <= moment}


@dataclass(frozen=True)
class Judgement:
    """A taste that rates answers, too, by how far they are from a usual one."""

    taste: Taste
    usual: float  # score

    def of(self, task: dict[str, Any], draw: random.Random) -> dict[str, Any]:
        if task["kind"] == "comparison":
            choice = self.taste.verdict(task, draw)
            return {"choice": choice, "strength": None if choice == "tie" else draw.randint(1, 3), "active_ms": 1500}
        difference = max(self.taste.tie_within / NEAR_TIE, 1e-9)
        score = self.taste.score(last_words(task["prompt"]["messages"]), task["response"]["text"])
        return {"overall": max(1, min(5, round(3 + 2 * (score - self.usual) / difference))), "active_ms": 1500}


def judgement_of(house: Installation) -> Judgement:
    """Shorter answers are liked: that is learned from few verdicts."""
    score = find("concise")
    answers: dict[int, list[str]] = {}
    for item in house.pages(f"/projects/{SLUG}/generations", split="train"):
        answers.setdefault(item["prompt_id"], []).append(item["text"])
    usual = statistics.median(score("", text) for texts in answers.values() for text in texts)
    return Judgement(taste_of(score, [("", texts) for texts in answers.values()]), usual)


@contextmanager
def at_work(
    url: str, keys: Sequence[str], judgement: Judgement, ledger: Ledger, pause_s: float, seed: int, *, withdraw: bool
) -> Iterator[list[Future[None]]]:
    """They work while the context lasts, and then end what they have in hand. `withdraw`: whether the program knows of that."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(keys)) as pool:
        shares = (WITHDRAWN if withdraw else 0.0, CORRECTED)
        people = [
            pool.submit(_Person(url, key, judgement, ledger, pause_s, seed + number, shares).work, stop)
            for number, key in enumerate(keys)
        ]
        try:
            yield people
        finally:
            stop.set()
    for person in people:
        person.result()


class _Person:
    def __init__(
        self, url: str, key: str, judgement: Judgement, ledger: Ledger, pause_s: float, seed: int, shares: tuple[float, float]
    ) -> None:
        self._urls = [url]
        self._key = key
        self._judgement = judgement
        self._ledger = ledger
        self._pause_s = pause_s
        self._draw = random.Random(seed)
        self._withdrawn, self._corrected = shares
        self._mine: dict[int, dict[str, Any]] = {}  # by task, what was said last

    def work(self, stop: threading.Event) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {self._key}"}, timeout=60) as client:
            while not stop.is_set():
                what = self._draw.random() if self._mine else 1.0
                if what < self._withdrawn:
                    self._withdraw(client)
                elif what < self._withdrawn + self._corrected:
                    self._correct(client)
                elif not self._judge(client):
                    stop.wait(EMPTY_S)
                    continue
                stop.wait(self._draw.expovariate(1 / self._pause_s))

    def _judge(self, client: httpx.Client) -> bool:
        """Whether there was anything to judge."""
        task = self._ask(client, f"/projects/{SLUG}/tasks/next", None)
        self._ledger.claims += 1
        if not task:
            self._ledger.empty += 1
            return False
        said = self._judgement.of(task, self._draw) | self._written(task["kind"])
        if self._send(client, f"/tasks/{task['id']}/label", task["id"], said, withdraws=False):
            self._mine[task["id"]] = said
        return True

    def _correct(self, client: httpx.Client) -> None:
        task_id = self._draw.choice(list(self._mine))
        said = dict(self._mine[task_id])
        if "overall" in said:
            said["overall"] = 1 + said["overall"] % 5
        else:
            said |= {"choice": {"left": "tie", "tie": "right", "right": "left"}[said["choice"]], "strength": None}
        if self._send(client, f"/tasks/{task_id}/label", task_id, said, withdraws=False):
            self._mine[task_id] = said

    def _withdraw(self, client: httpx.Client) -> None:
        task_id = self._draw.choice(list(self._mine))
        self._send(client, f"/tasks/{task_id}/withdraw", task_id, self._mine.pop(task_id), withdraws=True)

    def _send(self, client: httpx.Client, path: str, task_id: int, body: dict[str, Any], *, withdraws: bool) -> bool:
        client_id = str(uuid.uuid4())
        said = self._ledger.said[client_id] = Said(task_id, body, withdraws, time.monotonic())
        reply = self._ask(client, path, {"client_id": client_id} | ({} if withdraws else body))
        if reply is None:
            return False
        said.answered_at = time.monotonic()
        self._ledger.heard.acknowledged[client_id] = task_id
        return True

    def _ask(self, client: httpx.Client, path: str, body: Any) -> dict[str, Any] | None:
        return until_answered(client, self._urls, path, body, self._draw, self._ledger.heard, PATIENCE_S)

    def _written(self, kind: str) -> dict[str, Any]:
        """A comment, a flag and a rewrite, now and then."""
        said: dict[str, Any] = {}
        comparison = kind == "comparison"
        if self._draw.random() < WRITTEN:
            said["comment"] = self._draw.choice(COMMENTS)
        if self._draw.random() < WRITTEN:
            said["flags"] = {"left": ["unsafe"]} if comparison else ["unsafe"]
        if self._draw.random() < WRITTEN:
            text = f"Better said, {self._draw.choice(COMMENTS)}"
            said["rewrite"] = {"side": self._draw.choice(["left", "right"]), "text": text} if comparison else text
        return said
