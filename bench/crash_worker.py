"""kill -9 of the worker at ten points of a round: `python bench/crash_worker.py`.

At every other point the run's own process is killed with it, as a power cut would. The round must reach its decision, with every
label, every answer once, one checkpoint a run and every seat counted right. One JSON line.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import contextlib
import json
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from app.database.engine import make_engine, read_session
from app.models import Label, Seat, Task
from bench.annotators import taste_of, work
from bench.installation import SLUG, Installation, say, simple_model
from bench.preferences import find

# The live run has done so many steps of its kind when the worker dies.
POINTS = [("reward", 0), ("reward", 2), *(("ppo", step) for step in (0, 1, 3, 5, 7, 9)), ("sample", 40), ("sample", 300)]
LABELS = 120
UPDATES = 12
PATIENCE_S = 900.0
ENDED = frozenset({"decision", "done", "refused", "failed", "cancelled"})


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 of the worker at ten points of a round.")
    parser.add_argument("--data", type=Path, help="keep the installation in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-crash-") as folder:
        place = options.data or Path(folder)
        house = Installation(place / "house", simple_model(place))
        try:
            figures = crash(house)
        finally:
            house.stop()
        figures |= inspect(house.data, figures)
    print(json.dumps(figures), flush=True)
    whole = figures["round"] == "decision" and not any(
        count for name, count in figures.items() if name.endswith(("lost", "doubled", "wrong"))
    )
    return 0 if whole and figures["kills"] == len(POINTS) else 1


def crash(house: Installation) -> dict[str, Any]:
    """Labels, a round, and a dead worker at every point."""
    house.start_web()
    house.sign_in()
    settings = {"rating_share": 0.0, "queue_low_mark": 1, "evaluation": {"on": False}}
    project = house.send("PATCH", f"/projects/{SLUG}", json=settings)
    first = house.sample(project["policy_id"], "all", seed=1)
    house.start_worker()
    house.wait(f"/runs/{first}", frozenset({"done"}), PATIENCE_S)
    score = find("concise")
    answers: dict[int, list[str]] = {}
    for item in house.pages(f"/projects/{SLUG}/generations", split="train"):
        answers.setdefault(item["prompt_id"], []).append(item["text"])
    given = work(house.url, SLUG, house.annotators(4), taste_of(score, [("", texts) for texts in answers.values()]), LABELS, 30)

    began = time.monotonic()
    started = house.send("POST", f"/projects/{SLUG}/rounds", json={"config": {"ppo": {"updates": UPDATES}}})
    kills = kill_at_points(house, f"/rounds/{started['id']}")
    round_ = house.wait(f"/rounds/{started['id']}", ENDED, PATIENCE_S)
    expected = {run["id"]: run["result"]["generations"] for run in round_["runs"] if run["kind"] == "sample"}
    written = {run_id: house.pages(f"/projects/{SLUG}/generations", run=run_id) for run_id in expected}
    doubled = sum(
        count - 1 for items in written.values() for count in Counter((one["prompt_id"], one["number"]) for one in items).values()
    )
    checkpoints = Counter(one["run_id"] for one in house.pages(f"/projects/{SLUG}/checkpoints") if one["run_id"])
    return {
        "bench": "crash_worker",
        "kills": kills,
        "round": round_["state"],
        "reason": round_["reason"],
        "labels_acknowledged": given,
        "generations": sum(len(items) for items in written.values()),
        "generations_lost": sum(expected[run_id] - len(items) for run_id, items in written.items()),
        "generations_doubled": doubled,
        "checkpoints_doubled": sum(count - 1 for count in checkpoints.values()),
        "attempts": {f"{run['kind']} {run['id']}": run["attempts"] for run in round_["runs"]},
        "seconds": round(time.monotonic() - began),
    }


def kill_at_points(house: Installation, path: str) -> int:
    """Kill the worker at each point in turn and start another; how often that was done before the round ended."""
    for number, (kind, step) in enumerate(POINTS):
        deadline = time.monotonic() + PATIENCE_S
        while not reached(found := house.send("GET", path), kind, step):
            if found["state"] in ENDED or time.monotonic() > deadline:
                return number
            time.sleep(0.05)
        run = next(run for run in found["runs"] if run["state"] == "running")
        house.kill_worker()
        if number % 2:
            kill_process(house.data / "runs" / str(run["id"]))
        say(f"  killed at {kind} {run['step']}/{run['total']}{' with its run' if number % 2 else ''}")
        house.start_worker()
    return len(POINTS)


def reached(round_: dict[str, Any], kind: str, step: int) -> bool:
    return any(run["kind"] == kind and run["state"] == "running" and run["step"] >= step for run in round_["runs"])


def kill_process(folder: Path) -> None:
    """The run's process, if there is one at this moment."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(json.loads((folder / "process.json").read_text())["pid"], signal.SIGKILL)


def inspect(data: Path, figures: dict[str, Any]) -> dict[str, int]:
    """What the database says once nobody writes to it."""
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with read_session(engine) as session:
        labels = session.scalar(select(func.count(Label.id))) or 0
        verdicts = (
            session.scalar(select(func.count()).select_from(select(Label.task_id, Label.annotator_id).distinct().subquery())) or 0
        )
        tasks = session.scalar(select(func.count(Task.id))) or 0
        seats = session.scalar(select(func.count(Seat.id))) or 0
        done = session.scalar(select(func.count(Seat.id)).where(Seat.state == "done")) or 0
    engine.dispose()
    return {
        "labels_lost": figures["labels_acknowledged"] - labels,
        "labels_doubled": labels - verdicts,
        "seats_wrong": abs(seats - tasks) + abs(done - labels),
    }


if __name__ == "__main__":
    sys.exit(main())
