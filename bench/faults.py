"""A labelling session while something breaks under it, and what became of every verdict.

    python bench/faults.py [--only full] [--annotators 8] [--locked-s 30]

A full disk, a folder that is moved away or deleted, one that can only be read, a clock that jumps, a database that somebody else
keeps. Linux, as root: it mounts a small disk of its own where nobody else sees it (`unshare`), and sets the clock of the web
process alone (`apt-get install faketime`). Annotators send each verdict, under the same client_id, until it is acknowledged. The
last line on stdout, one JSON object, says for each fault how requests were answered, what health said, how long a request took at
most, how soon verdicts were taken again, and what of the acknowledged ones the database holds: `lost`, `doubled`, `crashes`
(replies of 500 and the like) and `taken_in_vain` (acknowledged when there was nothing to keep them in) should be 0.
"""

from __future__ import annotations

import os
import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if __name__ == "__main__":
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from app.database.engine import sqlite_module
from bench.stage import SLUG, Record, Server, fill, inspect, say, verdict

DISK_MB = 64
BEFORE_S, DURING_S, AFTER_S = 2.0, 5.0, 3.0
AGAIN_S = 0.2  # before what was refused is sent again
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
OWN_MOUNTS = "TASTE_BENCH_OWN_MOUNTS"


@dataclass
class Session:
    """What annotators were answered, before, during and after the fault."""

    record: Record = field(default_factory=Record)
    phase: str = "before"
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    longest_s: dict[str, float] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter)  # what refusals said during the fault
    taken: list[tuple[float, float]] = field(
        default_factory=list
    )  # monotonic: when a verdict that was taken was sent, and answered

    def note(self, phase: str, status: int, began: float) -> None:
        self.answers.setdefault(phase, Counter())[status] += 1
        self.longest_s[phase] = max(self.longest_s.get(phase, 0.0), time.monotonic() - began)

    def figures(self) -> dict[str, Any]:
        statuses = sum(self.answers.values(), Counter())
        return {
            "answers": {phase: dict(sorted(counts.items())) for phase, counts in self.answers.items()},
            "said": [sentence for sentence, _ in self.said.most_common(2)],
            "longest_s": {phase: round(seconds, 2) for phase, seconds in self.longest_s.items()},
            "crashes": sum(count for status, count in statuses.items() if status >= 500 and status != 503),
        }


async def work(key: str, server: Server, session: Session, stop: asyncio.Event) -> None:
    """One annotator: claims and submits, and sends what was refused again."""
    async with aiohttp.ClientSession(server.url, headers={"Authorization": f"Bearer {key}"}) as client:
        while not stop.is_set():
            task, _ = await _sent(client, f"/api/v1/projects/{SLUG}/tasks/next", None, session, stop)
            if task is None:
                continue
            body = verdict(task)
            reply, sent_at = await _sent(client, f"/api/v1/tasks/{task['id']}/label", body, session, stop)
            if reply is not None:
                session.record.acknowledged[body["client_id"]] = task["id"]
                session.taken.append((sent_at, time.monotonic()))


async def _sent(client: aiohttp.ClientSession, path: str, body: Any, session: Session, stop: asyncio.Event) -> tuple[Any, float]:
    """The reply's JSON once it is taken, and when that was sent; None where it is time to stop."""
    while not stop.is_set():
        phase, began = session.phase, time.monotonic()
        status, told = await _answer(client, path, body)
        session.note(phase, status, began)
        if status in (200, 201):
            return told, began
        if phase == "during" and told:
            session.said[told.get("detail", "")] += 1
        await asyncio.sleep(AGAIN_S)
    return None, 0.0


async def _answer(client: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
    """Status 0: no answer."""
    try:
        async with client.post(path, json=body) as reply:
            return reply.status, await reply.json(content_type=None) if reply.status != 204 else None
    except (aiohttp.ClientError, ConnectionError):
        return 0, None


async def health(server: Server) -> tuple[int, str]:
    async with aiohttp.ClientSession(server.url) as client, client.get("/api/v1/health") as reply:
        told = await reply.json(content_type=None)
        return reply.status, str(told.get("detail") or told.get("status"))


# The faults. Each is a context: broken inside, mended after.


Fault = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def full(data: Path) -> Iterator[None]:
    """Another file takes all the room there is."""
    ballast = data / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            pass
    yield
    ballast.unlink()


@contextmanager
def gone(data: Path) -> Iterator[None]:
    """The folder is moved away, and put back."""
    away = data.with_name("away")
    data.rename(away)
    yield
    away.rename(data)


@contextmanager
def read_only(data: Path) -> Iterator[None]:
    """What is opened from now on can only be read; what is open stays so, as a mount over the folder does."""
    subprocess.run(["mount", "--bind", data, data], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", data], check=True)
    yield
    subprocess.run(["umount", data], check=True)


def locked(seconds: float) -> Fault:
    @contextmanager
    def fault(data: Path) -> Iterator[None]:
        """Another process writes, and does not end."""
        with closing(sqlite_module().connect(data / "tastemaker.db", isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    return fault


def clock(offset: str) -> Fault:
    @contextmanager
    def fault(data: Path) -> Iterator[None]:
        """The clock of the web process alone jumps, and back."""
        _set_clock(data, offset)
        yield
        _set_clock(data, "+0")

    return fault


def _set_clock(data: Path, offset: str) -> None:
    new = data.with_name("clock.new")
    new.write_text(offset + "\n")
    new.replace(data.with_name("clock"))


def with_clock(data: Path) -> list[str]:
    """The words before a command that has the clock of the file beside the data folder."""
    _set_clock(data, "+0")
    file = f"FAKETIME_TIMESTAMP_FILE={data.with_name('clock')}"
    return ["env", f"LD_PRELOAD={FAKETIME}", file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]


# A session around a fault


async def through(server: Server, keys: list[str], data: Path, fault: Fault, during_s: float) -> tuple[Session, dict[str, Any]]:
    session = Session()
    async with _annotating(server, keys, session):
        await asyncio.sleep(BEFORE_S)
        with fault(data):
            session.phase = "during"
            await asyncio.sleep(during_s / 2)
            told = await health(server)
            await asyncio.sleep(during_s / 2)
        session.phase, mended = "after", time.monotonic()
        await asyncio.sleep(AFTER_S)
        healthy = await health(server)
    again = next((answered - mended for sent, answered in session.taken if answered >= mended), None)
    return session, {
        "health_during": told[0],
        "health_said": told[1],
        "health_after": healthy[0],
        "taken_again_after_s": None if again is None else round(again, 2),
    }


@asynccontextmanager
async def _annotating(server: Server, keys: list[str], session: Session) -> AsyncIterator[None]:
    stop = asyncio.Event()
    people = [asyncio.create_task(work(key, server, session, stop)) for key in keys]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*people)


def measure(fault: Fault, annotators: int, during_s: float, *, jumps: bool) -> dict[str, Any]:
    """The figures of one fault on a disk of its own."""
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", folder], check=True)
        try:
            data = Path(folder) / "data"
            keys = fill(data, tasks=4_000, annotators=annotators)
            server = Server(data)
            server.before = with_clock(data) if jumps else []
            try:
                server.start()
                session, told = asyncio.run(through(server, keys, data, fault, during_s))
            finally:
                server.stop()
            held = inspect(data, session.record)
            least_wall_ms, surplus = _of_labels(data)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
    return {
        **session.figures(),
        **told,
        "acknowledged": len(session.record.acknowledged),
        **{name: held[name] for name in ("lost", "doubled", "over_limit", "wrong_seat_counts")},
        "surplus": surplus,
        "least_wall_ms": least_wall_ms,
    }


def _of_labels(data: Path) -> tuple[int | None, int]:
    """The shortest time that a task was looked at, and how many verdicts came when their seat was another's, and are kept."""
    with closing(sqlite_module().connect(data / "tastemaker.db")) as database:
        least, surplus = database.execute("SELECT min(wall_ms), count(*) FILTER (WHERE seat_id IS NULL) FROM labels").fetchone()
        return least, surplus


def deleted(annotators: int) -> dict[str, Any]:
    """The folder is deleted for good: from then on nothing may be acknowledged."""
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        data = Path(folder) / "data"
        keys = fill(data, tasks=2_000, annotators=annotators)
        server = Server(data)

        async def go() -> tuple[Session, tuple[int, str], int]:
            session = Session()
            async with _annotating(server, keys, session):
                await asyncio.sleep(BEFORE_S)
                shutil.rmtree(data)
                at, session.phase = time.monotonic(), "during"
                await asyncio.sleep(DURING_S)
                return session, await health(server), sum(sent > at for sent, answered in session.taken)

        try:
            server.start()
            session, told, vain = asyncio.run(go())
        finally:
            server.stop()
        made = (data / "tastemaker.db").exists()
    return {
        **session.figures(),
        "health_during": told[0],
        "health_said": told[1],
        "taken_in_vain": vain,
        "made_another_database": made,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=("full", "gone", "deleted", "read_only", "clock", "locked"))
    options.add_argument("--annotators", type=int, default=8)
    options.add_argument("--locked-s", type=float, default=30.0)
    chosen = options.parse_args()
    if OWN_MOUNTS not in os.environ:  # what is mounted here is seen, and left, by nobody else
        os.environ[OWN_MOUNTS] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])
    people = chosen.annotators
    faults: dict[str, Callable[[], dict[str, Any]]] = {
        "full": lambda: measure(full, people, DURING_S, jumps=False),
        "gone": lambda: measure(gone, people, DURING_S, jumps=False),
        "deleted": lambda: deleted(people),
        "read_only": lambda: measure(read_only, people, DURING_S, jumps=False),
        "clock": lambda: {way: measure(clock(way), people, DURING_S, jumps=True) for way in ("+2h", "-2h")},
        "locked": lambda: measure(locked(chosen.locked_s), people, chosen.locked_s, jumps=False),
    }
    result: dict[str, Any] = {"bench": "faults", "annotators": people}
    for name, fault in faults.items():
        if chosen.only in (None, name):
            result[name] = fault()
            say(f"{name}: {json.dumps(result[name])}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
