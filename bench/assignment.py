"""What a claim takes inside of the database, by how much of the queue is for the person who claims, on SQLite.

    python bench/assignment.py [--tasks 20000] [--claims 300]

Prompts are half English, half German, in turn; each claim is taken back. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine, text

from app.assignment.audiences import kept_from
from app.database.engine import make_engine, write_session
from app.models import utc_now
from app.queue.claim import claim_next
from bench.grown import fill_grown
from bench.stage import sqlite_in

AUDIENCES = ("de", "en")
PEOPLE = {"everything": (), "half": ("en",), "nothing": ("fr",)}  # what is for them, and the languages they have said


def median_ms(engine: Engine, kept: str, claims: int) -> float:
    times = []
    for _number in range(claims):
        with write_session(engine) as session:
            connection, began = session.connection(), time.perf_counter()
            claim_next(connection, 1, 2, now=utc_now(), lease=timedelta(minutes=10), kept=kept)
            times.append(time.perf_counter() - began)
            session.rollback()
    return round(1000 * statistics.median(times), 3)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tasks", type=int, default=20_000)
    options.add_argument("--claims", type=int, default=300)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        fill_grown(Path(folder), tasks=chosen.tasks, labels=1000, annotators=4)
        engine = make_engine(sqlite_in(Path(folder)))
        found = {"without_assignment": median_ms(engine, "", chosen.claims)}
        with write_session(engine) as session:
            session.execute(text("UPDATE prompts SET audience = CASE id % 2 WHEN 0 THEN 'de' ELSE 'en' END"))
        for name, languages in PEOPLE.items():
            claims = chosen.claims if name != "nothing" else max(5, chosen.claims // 30)
            found[f"{name}_is_theirs"] = median_ms(engine, kept_from(AUDIENCES, languages, ()), claims)
    print(json.dumps({"bench": "assignment", "tasks": chosen.tasks, "load": round(os.getloadavg()[0], 1), "ms": found}))


if __name__ == "__main__":
    main()
