"""kill -9 at random moments, under load; then what the database says about every verdict that was acknowledged.

    python bench/crash.py [--kills 50] [--annotators 16] [--seed 0]

The web process is killed and started again while annotators claim and submit; each sends a verdict again, under the same
client_id, until it is acknowledged. The last line on stdout is one JSON object; every figure from `lost` on should be 0.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.stage import Record, Server, annotate, fill, inspect, say, serving

LOAD_S = (0.2, 1.5)  # between the restart and the next kill
PATIENCE_S = 60.0  # how long an annotator tries again


async def work_and_kill(server: Server, keys: list[str], kills: int, draw: random.Random) -> tuple[Record, list[float]]:
    """Load without a pause, `kills` kills; what the annotators saw, and how long each restart took."""
    record = Record()
    stop = asyncio.Event()
    people = [
        asyncio.create_task(annotate(number, key, server.url, stop, record, patience_s=PATIENCE_S))
        for number, key in enumerate(keys)
    ]
    restarts_s = []
    for kill in range(kills):
        await asyncio.sleep(draw.uniform(*LOAD_S))
        server.kill()
        restarts_s.append(await asyncio.to_thread(server.start))
        if kill % 10 == 9:
            say(f"{kill + 1} kills, {len(record.acknowledged)} verdicts acknowledged, {record.retries} sends repeated")
    await asyncio.sleep(1.0)
    stop.set()
    await asyncio.gather(*people)
    return record, restarts_s


def crash_web(kills: int, annotators: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong in words."""
    draw = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        data = Path(folder)
        keys = fill(data, tasks=int(kills * 350), annotators=annotators)
        with serving(data) as server:
            record, restarts_s = asyncio.run(work_and_kill(server, keys, kills, draw))
        told = inspect(data, record)
    result = {
        "bench": "crash",
        "killed": "web",
        "kills": kills,
        "annotators": annotators,
        "seconds": round(time.monotonic() - began, 1),
        "acknowledged": len(record.acknowledged),
        "retries": record.retries,
        "restart_s_median": round(sorted(restarts_s)[len(restarts_s) // 2], 2),
        "ran_dry": record.ran_dry,
        "errors": len(record.errors),
        "double_assigned": sum(len(holders) > 1 for holders in record.holders.values()),
    }
    return result | told, record.errors


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--annotators", type=int, default=16)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    result, errors = crash_web(chosen.kills, chosen.annotators, chosen.seed)
    for error in errors[:5]:
        say(error)
    print(json.dumps(result))
    wrong = ("lost", "doubled", "over_limit", "wrong_seat_counts", "errors")
    raise SystemExit(any(result[name] for name in wrong))


if __name__ == "__main__":
    main()
