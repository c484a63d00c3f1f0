"""PostgreSQL, two web and two worker processes: kill -9 of each and restarts of the database while people label and rounds run.

    python bench/crash_cluster.py [--rounds 2] [--annotators 8] [--seed 0]

Blow after blow falls until every one of BLOWS has: a process is killed and started again, the database is restarted, twice in
peace (`fast`) and once as a crash (`immediate`). An annotator sends a verdict again, under the same client_id, until it is
acknowledged. The last line on stdout is one JSON object; every figure from `undecided` on should be 0, and where one is not
the bench ends with 1.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if __name__ == "__main__":
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import json
import random
import tempfile
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from app.database.engine import make_engine, read_session
from app.models import Checkpoint, Generation, Label, Project, Round, Run, Seat
from bench.annotators import Heard, taste_of, until_answered, work
from bench.installation import SLUG, Installation, patiently, say, simple_model
from bench.preferences import find
from tests.postgres import Cluster, cluster

LEAST_ACKNOWLEDGED = 100  # while the blows fall; with fewer, nobody was there to lose anything
LABELS = 120  # before the first blow: what the first round learns from
BLOWS = ("web", "worker", "fast", "web", "worker", "immediate", "web", "worker", "fast", "web", "worker")
PAUSE_S = (3.0, 8.0)  # between two blows
PATIENCE_S = 900.0
CONFIG = {"ppo": {"updates": 6}}
ENDED = frozenset({"decision", "done", "refused", "failed", "cancelled"})
SETTINGS = {"rating_share": 0.0, "queue_low_mark": 200, "evaluation": {"on": False}}
DECIDED = frozenset({"decision", "done", "refused"})


def label_until(stop: threading.Event, urls: list[str], key: str, heard: Heard, seed: int) -> None:
    """One person, now at one web process and now at the other."""
    draw = random.Random(seed)
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        while not stop.is_set():
            task = until_answered(client, urls, f"/projects/{SLUG}/tasks/next", None, draw, heard, PATIENCE_S)
            if task is None or "id" not in task:
                time.sleep(0.5)  # the queue is empty for the moment
                continue
            client_id = str(uuid.uuid4())
            body = {"client_id": client_id, "choice": draw.choice(["left", "right"]), "active_ms": 1500}
            if until_answered(client, urls, f"/tasks/{task['id']}/label", body, draw, heard, PATIENCE_S) is not None:
                heard.acknowledged[client_id] = task["id"]


class Blows:
    """Kills processes and restarts the database, one after the other, and starts again what it killed."""

    def __init__(self, houses: list[Installation], server: Cluster) -> None:
        self._houses = houses
        self._server = server
        self.dealt: Counter[str] = Counter()
        self.ended_by_themselves = 0

    def deal(self, blow: str) -> None:
        house = self._houses[self.dealt[blow] % len(self._houses)]
        self.look_for_the_dead()
        if blow == "web":
            house.kill_web()
            house.start_web()
        elif blow == "worker":
            house.kill_worker()
            house.start_worker()
        else:
            self._server.restart(blow)
        self.dealt[blow] += 1
        say(f"  {blow}")

    def look_for_the_dead(self) -> None:
        """Those that ended although nobody killed them; they are started again, as whoever looks after them would."""
        for house in self._houses:
            for name in house.ended_by_themselves():
                say(f"  a {name} process ended by itself")
                self.ended_by_themselves += 1
                (house.start_web if name == "web" else house.start_worker)()


def run_rounds(house: Installation, rounds: int, blows: Blows, draw: random.Random) -> list[str]:
    """How each round ended. Blows fall while they run, and the last round waits for those that are left."""
    ends = []
    left = list(BLOWS)
    for number in range(rounds):
        started = patiently(lambda: house.send("POST", f"/projects/{SLUG}/rounds", json={"config": CONFIG}))
        path = f"/rounds/{started['id']}"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = patiently(lambda path=path: house.send("GET", path))  # type: ignore[misc]
            over = found["state"] in ENDED
            if over and (number + 1 < rounds or not left):
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"round {started['id']} is still at {found['state']}")
            if left:
                time.sleep(draw.uniform(*PAUSE_S))
                blows.deal(left.pop(0))
            else:
                time.sleep(1)
        ends.append(found["state"])
        say(f"  round {number + 1}: {found['state']} {found['reason'] or ''}")
        if found["state"] == "decision":
            patiently(lambda path=path: house.send("POST", f"{path}/reject", json={"reason": "bench"}))  # type: ignore[misc]
    return ends


def crash(place: Path, server: Cluster, rounds: int, annotators: int, seed: int) -> tuple[dict[str, Any], Heard]:
    draw = random.Random(seed)
    model = simple_model(place)
    first, second = (Installation(place / "house", model, database=server.url) for _ in range(2))
    houses = [first, second]
    began = time.monotonic()
    try:
        first.start_web()
        second.start_web()
        first.sign_in()
        second.key = first.key
        project = first.send("PATCH", f"/projects/{SLUG}", json=SETTINGS)
        run = first.sample(project["policy_id"], "all", seed=1)
        for house in houses:
            house.start_worker()
        first.wait(f"/runs/{run}", frozenset({"done"}), PATIENCE_S)
        answers: dict[int, list[str]] = {}
        for item in first.pages(f"/projects/{SLUG}/generations", split="train"):
            answers.setdefault(item["prompt_id"], []).append(item["text"])
        keys = first.annotators(annotators)
        score = find("concise")
        given = work(first.url, SLUG, keys, taste_of(score, [("", texts) for texts in answers.values()]), LABELS, 60)
        say(f"  {given} labels; now the blows")
        heard, stop, blows = Heard(), threading.Event(), Blows(houses, server)
        urls = [house.url for house in houses]
        with ThreadPoolExecutor(annotators) as pool:
            people = [pool.submit(label_until, stop, urls, key, heard, seed + number) for number, key in enumerate(keys)]
            try:
                ends = run_rounds(first, rounds, blows, draw)
            finally:
                stop.set()
            for person in people:
                person.result()
        blows.look_for_the_dead()
    finally:
        for house in houses:
            house.stop()
    return {
        "bench": "crash_cluster",
        "blows": dict(blows.dealt),
        "rounds": ends,
        "labels_before": given,
        "acknowledged": len(heard.acknowledged),
        "repeated": len(heard.troubles),
        "longest_s": round(heard.longest_s, 1),
        "seconds": round(time.monotonic() - began),
        "undecided": sum(end not in DECIDED for end in ends) + ("decision" not in ends),
        "ended_by_themselves": blows.ended_by_themselves,
        "refusals": len(heard.errors),
        "verdicts_too_few": max(0, LEAST_ACKNOWLEDGED - len(heard.acknowledged)),
        "blows_not_dealt": len(BLOWS) - blows.dealt.total(),
    }, heard


def inspect(url: str, heard: Heard, before: int) -> dict[str, int]:
    """What the database says once nobody writes to it."""
    engine = make_engine(url)
    with read_session(engine) as session:
        labels = dict(session.execute(select(Label.client_id, Label.task_id)).all())
        current = select(Label.task_id, func.count().label("people")).where(Label.current).group_by(Label.task_id).subquery()
        twice = select(Label.client_id).group_by(Label.client_id).having(func.count() > 1)
        said_twice = select(Label.task_id).group_by(Label.task_id, Label.annotator_id, Label.version).having(func.count() > 1)
        overlap = session.scalars(select(Project.overlap).where(Project.slug == SLUG)).one()
        over = session.scalar(select(func.count()).select_from(current).where(current.c.people > overlap)) or 0
        seated = session.scalar(select(func.count(Seat.id)).where(Seat.state == "done")) or 0
        judged = session.scalar(select(func.count(Label.seat_id.distinct()))) or 0  # a withdrawn label keeps its seat
        shared = (
            session.scalar(select(func.count(Label.seat_id) - func.count(Label.seat_id.distinct())).where(Label.current)) or 0
        )
        open_rounds = session.scalar(select(func.count(Round.id)).where(Round.ended_at.is_(None))) or 0
        answers = select(Generation.run_id, Generation.prompt_id, Generation.number)
        answers = answers.group_by(Generation.run_id, Generation.prompt_id, Generation.number).having(func.count() > 1)
        made = (
            select(Checkpoint.run_id).where(Checkpoint.run_id.is_not(None)).group_by(Checkpoint.run_id).having(func.count() > 1)
        )
        stuck = session.scalar(select(func.count(Run.id)).where(Run.state == "failed")) or 0
        figures = {
            "lost": sum(labels.get(client_id) != task_id for client_id, task_id in heard.acknowledged.items()),
            "labels_doubled": len(session.execute(twice).all()) + len(session.execute(said_twice).all()),
            "never_acknowledged": abs(len(labels) - before - len(heard.acknowledged)),
            "over_the_overlap": over,
            "wrong_seats": abs(seated - judged) + shared,
            "open_rounds": open_rounds,
            "answers_doubled": len(session.execute(answers).all()),
            "checkpoints_doubled": len(session.execute(made).all()),
            "failed_runs": stuck,
        }
    engine.dispose()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--annotators", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-crash-") as folder, cluster(fsync=True) as server:
        figures, heard = crash(Path(folder), server, given.rounds, given.annotators, given.seed)
        told = inspect(server.url, heard, figures["labels_before"])
    for error in heard.errors[:10]:
        say(error)
    print(json.dumps(figures | told), flush=True)
    limited = ("undecided", "ended_by_themselves", "refusals", "verdicts_too_few", "blows_not_dealt", *told)
    wrong = [f"{name}: {(figures | told)[name]}" for name in limited if (figures | told)[name]]
    for line in wrong:
        say(line)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
