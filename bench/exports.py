"""How many rows a second each export streams, and how much memory it takes.

    python bench/exports.py [--labels 200000] [--data FOLDER] [--against TREE]

One project: a tenth as many prompts as labels, each with two answers of some 500 characters; every fourth label a rating, every
tenth has a rewrite, every fifth a comment, and all of them hold Chinese. A process for each export reads it with the code of this
tree and, with `--against`, with that of another, in turn. Seconds are the process's own processor time and the clock's. FOLDER is
kept, and used as it is where it was filled before. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from app.database.engine import make_engine, write_session
from app.models import utc_now
from bench.stage import ROOT, fill, say

FORMATS: Final = ("preference", "ratings", "kto", "sft", "labels")
ANNOTATORS: Final = 20

_NUMBERS: Final = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
_ANSWER: Final = (
    "replace('xxxx', 'x', 'A plain answer - of the length that a small model writes, so that what is sent and stored has "
    "a real size; it has a list:\n- one\n- two\n天空是藍色的。 ') || n || '.' || :number"
)
STATEMENTS: Final = (
    """INSERT INTO prompts (id, project_id, messages, digest, split, external_id, extra, created_at)
    SELECT n + 10, 1,
      json_array(json_object('role', 'user', 'content', 'Question ' || n || ': what would you advise, and why? 為什麼？')),
      printf('%064x', 4294967296 + n), CASE n % 5 WHEN 0 THEN 'holdout' ELSE 'train' END, 'q-' || n,
      json_object('source', 'bench', 'number', n), :now FROM numbers""",
    *(
        f"""INSERT INTO generations (id, prompt_id, contender_id, checkpoint_id, run_id, number, settings, seed, text, token_ids,
      finish_reason, created_at)
    SELECT 100 + 2 * n + {number}, n + 10, 1, 1, 1, {number}, '{{}}', n,
      {_ANSWER.replace(":number", str(number))}, '[]', 'eos', :now FROM numbers"""
        for number in (0, 1)
    ),
)
_TASKS: Final = """INSERT INTO tasks (id, project_id, prompt_id, kind, purpose, first_generation_id, second_generation_id,
      served_reason, created_at)
    SELECT n, 1, 11 + n % :prompts, 'comparison', 'train', 102 + 2 * (n % :prompts), 103 + 2 * (n % :prompts), 'random', :now
    FROM numbers"""
_LABELS: Final = """INSERT INTO labels (id, project_id, task_id, annotator_id, version, current, withdrawn, surplus, trains,
      client_id, payload_hash, kind, choice, strength, overall, criteria, flags, rewrite, comment, left_generation_id,
      right_generation_id, guideline_version, interface_version, wall_ms, active_ms, served_reason, created_at)
    SELECT n, 1, n, 1 + n % :annotators, 1, 1, 0, 0, 1, printf('%08x-0000-4000-8000-%012x', n, n), printf('%064x', n),
      CASE n % 4 WHEN 0 THEN 'rating' ELSE 'comparison' END, CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN 'right' ELSE 'left' END,
      CASE n % 4 WHEN 0 THEN NULL ELSE 2 END, CASE n % 4 WHEN 0 THEN 1 + n / 4 % 5 ELSE NULL END,
      CASE n % 4 WHEN 0 THEN '{"fluency": 4, "accuracy": 3}' ELSE '{"fluency": "left", "accuracy": "tie"}' END,
      CASE n % 4 WHEN 0 THEN '{"response": ["untrue"]}' ELSE '{"left": ["untrue"]}' END,
      CASE n % 10 WHEN 0 THEN json_object('side', CASE n % 4 WHEN 0 THEN 'response' ELSE 'left' END,
        'text', 'Better: ' || n || '。') END,
      CASE n % 5 WHEN 0 THEN 'Clear; and short. 清楚。' ELSE '' END, 102 + 2 * (n % :prompts),
      CASE n % 4 WHEN 0 THEN NULL ELSE 103 + 2 * (n % :prompts) END, 1, 'bench', 9000, 6000, 'random',
      '2026-01-01 00:00:00.000000' FROM numbers"""

# Run in a process of its own on the tree that it stands in; what it calls is there in every version.
READ: Final = """
import hashlib, json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from app.database.engine import make_engine, read_session
from app.exports.service import ExportQuery, prepare_export, stream_export
from app.projects.service import get_project
engine = make_engine("sqlite:///" + sys.argv[2])
with read_session(engine) as session:
    export = prepare_export(session, get_project(session, "bench"), ExportQuery(format=sys.argv[3], as_=sys.argv[4]))
chunks = stream_export(engine, export)
rows, size, digest = 0, 0, hashlib.sha256()
began = None
before = 0
for number, chunk in enumerate(chunks):
    if number == 3:
        before, began, rows = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, (time.perf_counter(), time.process_time()), 0
    rows += chunk.count(b"\\r\\n" if sys.argv[4] == "csv" else b"\\n")
    size += len(chunk)
    digest.update(chunk)
print(json.dumps({"rows": rows, "bytes": size, "sha256": digest.hexdigest()[:12],
    "clock_s": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1],
    "grew_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}))
"""


def fill_exports(data: Path, labels: int) -> None:
    fill(data, tasks=1, annotators=ANNOTATORS, rating_share=0.0)
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    prompts = labels // 10
    values = {"now": str(utc_now().replace(tzinfo=None)), "prompts": prompts, "annotators": ANNOTATORS}
    with write_session(engine) as session:
        session.execute(text("DELETE FROM seats"))
        session.execute(text("DELETE FROM tasks"))
        for statement in STATEMENTS:
            session.execute(text(_NUMBERS + statement), values | {"last": prompts})
        for statement in (_TASKS, _LABELS):
            session.execute(text(_NUMBERS + statement), values | {"last": labels})
    engine.dispose()
    say(f"{labels} labels about {prompts} prompts")


def read(tree: Path, database: Path, format: str, as_: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tree), str(database), format, as_], cwd=tree, check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {
        "rows_per_cpu_s": round(found["rows"] / found["cpu_s"]),
        "rows_per_s": round(found["rows"] / found["clock_s"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--against", type=Path, help="the folder of another version of the program")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder)
        database = data / "tastemaker.db"
        if not database.exists():
            fill_exports(data, arguments.labels)
        figures = []
        for format in arguments.formats:
            for as_ in ("jsonl", "csv"):
                trees = {"before": arguments.against, "now": ROOT}
                one = {name: read(tree, database.resolve(), format, as_) for name, tree in trees.items() if tree}
                say(f"{format} {as_}: " + "; ".join(f"{name} {found}" for name, found in one.items()))
                figures.append({"format": format, "as": as_, **one})
    print(json.dumps({"bench": "exports", "labels": arguments.labels, "figures": figures}))


if __name__ == "__main__":
    main()
