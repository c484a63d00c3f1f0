"""The leaderboard of a project with many verdicts: `python bench/leaderboard.py [--labels 1000000] [--data FOLDER]`.

So many verdicts among 20 contenders are made by SQL, half of them against the base. A
worker's chore counts them; then the page, its picture and the call are asked of a server, the first time since it started and
again. The same page is asked once where nobody has counted, which counts a part by itself. The last line on stdout is one JSON
object.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import http.client
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, text

from app.contenders.service import contender_of
from app.database.engine import make_engine, read_session, write_session
from app.evaluation.leaderboard.tally import keep_counting, met_by
from app.models import Checkpoint, Contender, Leaderboard, Project
from bench.grown import sign_in
from bench.stage import SLUG, fill, say, serving, sqlite_in

CONTENDERS: Final = 20
PROMPTS: Final = 5_000
ASKED: Final = 5
ADDRESSES: Final = (
    f"/projects/{SLUG}/leaderboard",
    f"/projects/{SLUG}/leaderboard?length=without",
    f"/api/v1/projects/{SLUG}/leaderboard",
)

_NUMBERS: Final = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
_PROMPTS: Final = text(
    _NUMBERS
    + """INSERT INTO prompts (id, project_id, messages, digest, split, extra, created_at)
    SELECT 1000000 + n, 1, '[]', printf('%064x', 4294967296 + n), 'holdout', '{}', :now FROM numbers"""
)
_ANSWERS: Final = text(
    _NUMBERS
    + """INSERT INTO generations (id, prompt_id, contender_id, checkpoint_id, run_id, number, settings, seed, text, token_ids,
      finish_reason, created_at)
    SELECT 1000000 + :place * 100000 + n, 1000000 + n, :contender, :ours, :ours, 0, '{}', :ours,
      substr(hex(zeroblob(500)), 1, 200 + abs(random()) % 800), CASE WHEN :ours THEN '[]' END, 'eos', :now FROM numbers"""
)
# All pairs in turn; contender k is stronger than k - 1, the base the weakest.
_LABELS: Final = text(
    _NUMBERS.replace("numbers(n) AS (SELECT 0", "numbers(n) AS (SELECT 1")
    + """, drawn AS (SELECT n, n % 5000 AS prompt, n / 2 % 20 AS a, n / 40 % 19 AS b, n * 7919 / 13 % 100 AS luck,
      n % 2 AS at_base FROM numbers),
    pairs AS (SELECT n, prompt, CASE WHEN at_base THEN 0 ELSE a END AS l,
      CASE WHEN at_base THEN 1 + b ELSE (a + 1 + b) % 20 END AS r, luck FROM drawn)
    INSERT INTO labels (id, project_id, task_id, annotator_id, version, current, withdrawn, surplus, trains, client_id,
      payload_hash, kind, choice, criteria, flags, comment, left_generation_id, right_generation_id, guideline_version,
      interface_version, served_reason, created_at)
    SELECT n, 1, n, 1 + n % 8, 1, 1, 0, 0, 0, printf('%08x-0000-4000-8000-%012x', n, n), printf('%064x', n), 'comparison',
      CASE WHEN luck < 10 THEN 'tie' WHEN luck < 55 + l - r THEN 'left' ELSE 'right' END, '{}', '{}', '',
      1000000 + l * 100000 + prompt, 1000000 + r * 100000 + prompt, 1, 'bench', 'evaluation', '2026-01-01 00:00:00.000000'
    FROM pairs"""
)
_TASKS: Final = text(
    _NUMBERS.replace("numbers(n) AS (SELECT 0", "numbers(n) AS (SELECT 1")
    + """INSERT INTO tasks (id, project_id, prompt_id, kind, purpose, first_generation_id, second_generation_id, served_reason,
      disputed, created_at)
    SELECT n, 1, 1000000 + n % 5000, 'comparison', 'evaluation', 1000000 + n % 5000, 1100000 + n % 5000, 'evaluation', 0, :now
    FROM numbers"""
)


def make(data: Path, labels: int) -> None:
    """The database, with nothing counted."""
    fill(data, tasks=10, annotators=8, rating_share=0.0)
    engine = make_engine(sqlite_in(data))
    now = "2026-01-01 00:00:00.000000"
    with write_session(engine) as session:
        for table in ("seats", "tasks"):
            session.execute(text(f"DELETE FROM {table}"))
        base = contender_of(session, session.get_one(Checkpoint, 1))
        others = [Contender(project_id=1, kind="imported", name=f"model {number:02}") for number in range(1, CONTENDERS)]
        session.add_all(others)
        session.flush()
        session.execute(_PROMPTS, {"last": PROMPTS - 1, "now": now})
        for place, contender in enumerate([base, *others]):
            ours = 1 if contender is base else None  # its checkpoint and run
            answers = {"place": place, "contender": contender.id, "ours": ours, "last": PROMPTS - 1, "now": now}
            session.execute(_ANSWERS, answers)
        session.execute(_TASKS, {"last": labels, "now": now})
        session.execute(_LABELS, {"last": labels})
    engine.dispose()
    say(f"{labels} verdicts among {CONTENDERS} contenders")


def measure(data: Path) -> dict[str, Any]:
    """Seconds of each."""
    engine = make_engine(sqlite_in(data))
    with write_session(engine) as session:
        session.execute(delete(Leaderboard))
    cookie = sign_in(data)
    with serving(data) as server:
        uncounted = seconds_of(server.port, cookie, ADDRESSES[0])
    began = time.perf_counter()
    while keep_counting(engine, 1, 1.0):
        pass
    counted = time.perf_counter() - began
    with read_session(engine) as session:
        met, left = met_by(session, session.get_one(Project, 1).id)
    engine.dispose()
    found: dict[str, Any] = {"uncounted_s": uncounted, "counting_s": round(counted, 1), "left": left}
    found["verdicts"] = round(sum(pair.verdicts for pair in met))
    with serving(data) as server:
        found["first_s"] = seconds_of(server.port, cookie, ADDRESSES[0])
        for name in ADDRESSES:
            found[name] = sorted(seconds_of(server.port, cookie, name) for _ in range(ASKED))[ASKED // 2]
    return found


def seconds_of(port: int, cookie: str, address: str) -> float:
    """To the last byte. Raises RuntimeError where there is no such page."""
    began = time.perf_counter()
    browser = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    browser.request("GET", address, headers={"Cookie": cookie})
    reply = browser.getresponse()
    reply.read()
    browser.close()
    if reply.status != 200:
        raise RuntimeError(f"{address} answered {reply.status}")
    return round(time.perf_counter() - began, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, help="kept, and used as it is where it was filled before")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-leaderboard-") as folder:
        data = given.data or Path(folder)
        if not (data / "tastemaker.db").exists():
            make(data, given.labels)
        print(json.dumps({"bench": "leaderboard", "labels": given.labels, **measure(data)}))


if __name__ == "__main__":
    main()
