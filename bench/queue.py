"""Claim + submit cycles per second over HTTP, many annotators at once, on SQLite; then what the database says about them.

    python bench/queue.py [--annotators 32] [--seconds 15] [--tasks N] [--labels N] [--overlap 1]
    python bench/queue.py --url http://... --keys FILE    # a running server; one API key a line

The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where this file's name would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.grown import fill_grown
from bench.stage import Record, annotate, fill, inspect, percentiles_ms, say, serving


async def work(url: str, keys: list[str], seconds: float) -> tuple[Record, float]:
    """All annotators at once; what they saw and how long it took."""
    record = Record()
    began = time.monotonic()
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await asyncio.gather(*(annotate(number, key, url, stop, record) for number, key in enumerate(keys)))
    return record, time.monotonic() - began


def figures(record: Record, annotators: int, overlap: int, elapsed_s: float) -> dict[str, Any]:
    cycles = [claim + submit for claim, submit in zip(record.claims_s, record.submits_s, strict=False)]
    return {
        "bench": "queue",
        "load": round(os.getloadavg()[0], 1),
        "annotators": annotators,
        "seconds": round(elapsed_s, 1),
        "cycles": len(record.acknowledged),
        "cycles_per_s": round(len(record.acknowledged) / elapsed_s, 1),
        **percentiles_ms(cycles),
        **percentiles_ms(record.claims_s, "next_"),
        **percentiles_ms(record.submits_s, "label_"),
        "errors": len(record.errors),
        "double_assigned": sum(len(holders) > overlap for holders in record.holders.values()),
        "ran_dry": record.ran_dry,
    }


def _filled(data: Path, tasks: int, labels: int, annotators: int, overlap: int) -> list[str]:
    if labels:
        return fill_grown(data, tasks=tasks, labels=labels, annotators=annotators, overlap=overlap)
    return fill(data, tasks=tasks, annotators=annotators, overlap=overlap)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--annotators", type=int, default=32)
    options.add_argument("--seconds", type=float, default=15.0)
    options.add_argument("--tasks", type=int, default=0, help="open tasks at the start; by default more than can be done")
    options.add_argument("--labels", type=int, default=0, help="labels that are there already, each of one of the annotators")
    options.add_argument("--overlap", type=int, default=1, help="seats of a task")
    options.add_argument("--url", default="", help="a running server, instead of one of our own")
    options.add_argument("--keys", type=Path, help="with --url: a file of API keys, one a line, for project `bench`")
    chosen = options.parse_args()
    if chosen.url:
        keys = chosen.keys.read_text().split()[: chosen.annotators]
        record, elapsed_s = asyncio.run(work(chosen.url, keys, chosen.seconds))
        result = figures(record, len(keys), chosen.overlap, elapsed_s)
    else:
        with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
            data = Path(folder)
            tasks = chosen.tasks or int(700 * chosen.seconds)
            keys = _filled(data, tasks, chosen.labels, chosen.annotators, chosen.overlap)
            with serving(data) as server:
                asyncio.run(work(server.url, keys, 1.0))  # the first requests compile their statements
                say("warm")
                cpu_s = server.cpu_s()
                record, elapsed_s = asyncio.run(work(server.url, keys, chosen.seconds))
                cpu_s = server.cpu_s() - cpu_s
                result = figures(record, chosen.annotators, chosen.overlap, elapsed_s)
                result |= {"server_cpu_ms_per_cycle": round(1000 * cpu_s / max(1, len(record.acknowledged)), 2)}
                result |= {"peak_rss_mib": server.peak_rss_mib()}
            result |= inspect(data, record)
    for error in record.errors[:5]:
        say(error)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
