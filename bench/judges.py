"""A crowd of twenty over HTTP, and what its pages say of each of them: `python bench/judges.py [--crowds 5] [--labels 60]`.

The people of `bench/noise.py`, all at once, on a whole installation: an admin brings in answers, has them compared by so many
people each, and judges a few clear ones that become known answers; the queue hands those and repeats out as it would to anybody.
Everybody gives so many labels; then `GET .../annotators` says what each decides by, and who was paused. The last line on stdout
is one JSON object; where a label was refused, or a careful person was paused or told as noise, the exit status is 1.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import json
import tempfile
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from app.quality.measures.by_person import Floats
from app.quality.measures.figure import Figure
from app.quality.report import what_decides
from bench.installation import SLUG, Installation, say, simple_model
from bench.noise import KINDS_OF_PEOPLE, NOISY, STRENGTH, SURE, asked, said, scored

KNOWN: Final = 8  # questions whose answer the admin knows
NAMES: Final = ("first", "second")
QUICK_MS, SLOW_MS = 1_200, 15_000
PATIENCE_S: Final = 20.0  # with nothing to do


class Questions:
    """Two answers to each prompt, of which it is planted how much better the first is, to most and to the minority."""

    def __init__(self, seed: int, count: int) -> None:
        draw = np.random.default_rng(seed)
        clear = np.tile(STRENGTH * np.abs(draw.normal(size=(KNOWN, 1))) + SURE, (1, 2)) * draw.choice((-1.0, 1.0), (KNOWN, 1))
        self.asked: Floats = np.vstack([np.column_stack([clear, np.zeros(KNOWN)]), asked(draw, count)])

    def lines(self) -> list[dict[str, str]]:
        """As an import takes them. The longer answer is longer."""
        return [
            {"prompt": f"Question {number}.", "model": name, "text": f"{name} {number} {'word ' * words}".strip()}
            for number, (_, _, longer) in enumerate(self.asked)
            for name, words in zip(NAMES, (20 + round(8 * max(0.0, longer)), 20 + round(8 * max(0.0, -longer))), strict=True)
        ]

    def of(self, task: dict[str, Any]) -> tuple[Floats, bool]:
        """(1, 3) what is planted about a task's answers, and whether the first one stands left."""
        name, number, *_ = task["left"]["text"].split()
        return self.asked[int(number)][None], name == NAMES[0]


def crowd(house: Installation, seed: int, each: int, overlap: int) -> dict[str, Any]:
    """What is told of everybody of one crowd, once all gave their labels."""
    questions = Questions(seed, -(-each * len(KINDS_OF_PEOPLE) // overlap) + 10)
    house.send("PATCH", f"/projects/{SLUG}", json={"overlap": 1, "rating_share": 0.0})
    prompts = [prompt["id"] for prompt in house.pages(f"/projects/{SLUG}/prompts")]
    house.send("POST", f"/projects/{SLUG}/prompts/archive", json={"ids": prompts})
    house.send("POST", f"/projects/{SLUG}/generations", json={"items": questions.lines()})
    by_prompt: dict[int, list[int]] = {}
    for one in house.pages(f"/projects/{SLUG}/generations"):
        by_prompt.setdefault(one["prompt_id"], []).append(one["id"])
    pairs = [dict(zip(NAMES, sorted(by_prompt[prompt]), strict=True)) for prompt in sorted(by_prompt)]
    _know(house, questions, pairs[:KNOWN])
    house.send("PATCH", f"/projects/{SLUG}", json={"overlap": overlap})
    for begin in range(KNOWN, len(pairs), 500):
        house.send("POST", f"/projects/{SLUG}/tasks", json={"items": pairs[begin : begin + 500]})
    keys = house.annotators(len(KINDS_OF_PEOPLE))
    with ThreadPoolExecutor(len(keys)) as pool:
        gave = list(pool.map(lambda number: _work(house.url, questions, keys[number], seed, number, each), range(len(keys))))
    items = house.send("GET", f"/projects/{SLUG}/annotators")["items"]
    by_name = {one["name"]: one for one in items}
    people = [by_name[f"Annotator {number}"] for number in range(len(keys))]
    return {
        "labels": sum(gave),
        "told": [told(one["decides"], one["left"]) for one in people],
        "paused": [kind for kind, one in zip(KINDS_OF_PEOPLE, people, strict=True) if one["paused"]],
    }


def told(decides: dict[str, float], left: dict[str, Any]) -> str:
    """What a person decides by, as their page says it; "" where nothing is more probable than all else."""
    return what_decides(decides, Figure(left["n"], left["value"], left["low"], left["high"])) or ""


def _know(house: Installation, questions: Questions, pairs: list[dict[str, int]]) -> None:
    """The admin judges these, and says that it is so."""
    house.send("POST", f"/projects/{SLUG}/tasks", json={"items": pairs})
    for _ in pairs:
        task = house.send("POST", f"/projects/{SLUG}/tasks/next")
        (better, _, _), first_left = questions.of(task)[0][0], questions.of(task)[1]
        choice = "left" if (better > 0) == first_left else "right"
        house.send("POST", f"/tasks/{task['id']}/label", json={"client_id": str(uuid.uuid4()), "choice": choice})
        known = {"task_id": task["id"], "choice": NAMES[int(better < 0)]}
        house.send("POST", f"/projects/{SLUG}/gold", json=known)


def _work(url: str, questions: Questions, key: str, seed: int, number: int, each: int) -> int:
    """One person's labels; how many they could give."""
    draw, kind, gave = np.random.default_rng((seed, number)), KINDS_OF_PEOPLE[number], 0
    idle = time.monotonic()
    with httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        while gave < each and time.monotonic() - idle < PATIENCE_S:
            reply = client.post(f"/projects/{SLUG}/tasks/next").raise_for_status()
            if reply.status_code == 204:  # nothing that they have not seen, or paused
                time.sleep(0.2)
                continue
            task = reply.json()
            asked, first_left = questions.of(task)
            sign = said(draw, kind, asked, np.array([1.0 if first_left else -1.0]))[0]
            choice = "left" if (sign > 0) == first_left else "right"
            spent = QUICK_MS if kind in ("hasty", "random") else SLOW_MS
            body = {"client_id": str(uuid.uuid4()), "choice": choice, "active_ms": spent}
            client.post(f"/tasks/{task['id']}/label", json=body).raise_for_status()
            gave, idle = gave + 1, time.monotonic()
    return gave


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crowds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=60, help="of each person")
    parser.add_argument("--overlap", type=int, default=7, help="people to a question")
    given = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    paused: Counter[str] = Counter()
    labels = 0
    with tempfile.TemporaryDirectory(prefix="tastemaker-judges-") as folder:
        model = simple_model(Path(folder))
        for seed in range(given.crowds):
            house = Installation(Path(folder) / f"crowd-{seed}", model)
            try:
                house.start_web()
                house.sign_in()
                found = crowd(house, seed, given.labels, given.overlap)
            finally:
                house.stop()
            say(f"crowd {seed}: {json.dumps(found)}")
            counts.update(zip(KINDS_OF_PEOPLE, found["told"], strict=True))
            paused.update(found["paused"])
            labels += found["labels"]
    figures = scored(counts) | {"labels": labels, "paused": dict(paused)}
    noise_of_careful = sum(n for (kind, one), n in counts.items() if kind == "careful" and one in ("chance", "opposite"))
    whole = labels == given.crowds * given.labels * len(KINDS_OF_PEOPLE) or bool(set(paused) & set(NOISY))
    problems = ["a careful person is told as noise"] * bool(noise_of_careful)
    problems += ["a careful person was paused"] * bool(paused["careful"])
    problems += ["people could not give all of their labels"] * (not whole)
    print(json.dumps({"bench": "judges", "labels_each": given.labels, "overlap": given.overlap, **figures, "problems": problems}))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
