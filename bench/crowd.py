"""A crowd at one web process: 50, 200 and 500 people who read lists and label at once, on SQLite and on PostgreSQL.

    python bench/crowd.py [--clients 50,200,500] [--databases sqlite,postgresql] [--seconds 15] [--only-read]

Each of them opens the page of their labels, reads the same list over the API, claims a task and sends its verdict, without a
pause between. Whoever is refused comes back when Retry-After says. Two waits are counted: of one attempt, until it is answered,
be it with a refusal; and until one is served, with every coming back. The last line on stdout is one JSON object; where its
`broken` names anything, the bench ends with 1.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where `queue.py` would hide the library's module
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if __name__ == "__main__":
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from sqlalchemy import select

from app.database.engine import make_engine, write_session
from app.models import SignInSession, User, utc_now
from app.settings import Settings
from app.web.security import digest, new_secret, session_cookie
from bench.stage import SLUG, Record, fill, inspect, percentiles_ms, say, serving, verdict
from tests.postgres import running

LISTED = 5  # labels that each already has, so that there is something to list
PATIENCE_S = 120.0  # a client gives up; before, whoever waited was told no after 30 s
LONGEST_ATTEMPT_S = 2.0
LEAST_PER_S = 40.0  # requests served; with fewer, the crowd was none


@dataclass(frozen=True)
class Person:
    key: str
    cookie: str


@dataclass
class Seen:
    """What the crowd saw."""

    served_s: dict[str, list[float]] = field(default_factory=dict)  # the attempt that was served, by what was asked for
    until_served_s: dict[str, list[float]] = field(default_factory=dict)  # the same from the first attempt on
    refused_s: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    unserved: int = 0  # the end came while they were to come back
    failed: Counter[str] = field(default_factory=Counter)
    verdicts: Record = field(default_factory=Record)
    own_lag_s: float = 0.0  # the longest time this process itself came late to what was there to be read: no wait of the server's


async def come(url: str, people: list[Person], seconds: float, *, only_read: bool = False) -> Seen:
    """All at once, for so long; whoever is in the middle of something then ends it."""
    seen = Seen()
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    watch = asyncio.create_task(_watch(seen))
    await asyncio.gather(*(_visit(url, number, person, stop, seen, only_read) for number, person in enumerate(people)))
    watch.cancel()
    return seen


async def _watch(seen: Seen) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.01)
        seen.own_lag_s = max(seen.own_lag_s, time.perf_counter() - began - 0.01)


async def _visit(url: str, number: int, person: Person, stop: asyncio.Event, seen: Seen, only_read: bool) -> None:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    by_key = {"Authorization": f"Bearer {person.key}"}
    cookies = {session_cookie(Settings()): person.cookie}
    async with (
        aiohttp.ClientSession(url, headers=by_key, connector=aiohttp.TCPConnector(limit=1), timeout=timeout) as program,
        aiohttp.ClientSession(url, cookies=cookies, connector=aiohttp.TCPConnector(limit=1), timeout=timeout) as browser,
    ):
        while not stop.is_set():
            await _ask(seen, stop, "page", browser, "GET", f"/projects/{SLUG}/labels")
            await _ask(seen, stop, "list", program, "GET", f"/api/v1/projects/{SLUG}/labels")
            if only_read:
                continue
            task = await _ask(seen, stop, "claim", program, "POST", f"/api/v1/projects/{SLUG}/tasks/next")
            if task is None:
                continue
            seen.verdicts.holders.setdefault(task["id"], set()).add(number)
            said = verdict(task)
            if await _ask(seen, stop, "verdict", program, "POST", f"/api/v1/tasks/{task['id']}/label", said) is not None:
                seen.verdicts.acknowledged[said["client_id"]] = task["id"]


async def _ask(
    seen: Seen, stop: asyncio.Event, what: str, client: aiohttp.ClientSession, method: str, path: str, body: Any = None
) -> Any:
    """The reply's JSON, "" for a page; None when it failed, or when the end came while it was refused."""
    first = time.perf_counter()
    while True:
        began = time.perf_counter()
        try:
            async with client.request(method, path, json=body) as reply:
                read = await reply.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            seen.failed[f"{what}: {type(error).__name__}"] += 1
            await asyncio.sleep(0.5)
            return None
        answered = time.perf_counter()
        took_s = answered - began
        if reply.status in (200, 201):
            seen.served_s.setdefault(what, []).append(took_s)
            seen.until_served_s.setdefault(what, []).append(answered - first)
            return json.loads(read) if reply.content_type == "application/json" else ""
        if reply.status != 503:
            seen.failed[f"{what}: {reply.status}"] += 1
            await asyncio.sleep(0.5)
            return None
        seen.refused_s.append(took_s)
        later = reply.headers.get("Retry-After")
        seen.without_retry_after += later is None
        if stop.is_set():
            seen.unserved += 1
            return None
        await asyncio.sleep(float(later or 1))


def figures(seen: Seen, seconds: float) -> dict[str, Any]:
    served = [took for times in seen.served_s.values() for took in times]
    until_served = [took for times in seen.until_served_s.values() for took in times]
    return {
        "served": len(served),
        "served_per_s": round(len(served) / seconds, 1),
        "verdicts": len(seen.verdicts.acknowledged),
        "attempt": _waits(served + seen.refused_s),
        "until_served": _waits(until_served),
        "refusal": _waits(seen.refused_s),
        "longest_by_kind_s": {what: round(max(times), 2) for what, times in seen.served_s.items()},
        "longest_until_served_by_kind_s": {what: round(max(times), 2) for what, times in seen.until_served_s.items()},
        "refused": len(seen.refused_s),
        "unserved": seen.unserved,
        "refused_without_retry_after": seen.without_retry_after,
        "failed": dict(seen.failed),
        "own_lag_s": round(seen.own_lag_s, 2),
    }


def _waits(times_s: list[float]) -> dict[str, float]:
    return percentiles_ms(times_s) | {"longest_s": round(max(times_s, default=0.0), 2)}


def broken(found: dict[str, Any], told: dict[str, int], seconds: float, *, only_read: bool = False) -> list[str]:
    """Which limits do not hold, of each crowd's figures and of what the database says in the end."""
    wrong = []
    for size, one in found.items():
        if one["attempt"]["longest_s"] > LONGEST_ATTEMPT_S:
            wrong.append(f"{size}: an attempt waited {one['attempt']['longest_s']} s, more than {LONGEST_ATTEMPT_S:.0f}")
        if one["refused_without_retry_after"]:
            wrong.append(f"{size}: {one['refused_without_retry_after']} refusals without Retry-After")
        if one["failed"]:
            wrong.append(f"{size}: failed: {one['failed']}")
        if one["served"] < LEAST_PER_S * seconds:
            wrong.append(f"{size}: {one['served']} requests served, fewer than {LEAST_PER_S * seconds:.0f}")
        if not (one["verdicts"] or only_read):
            wrong.append(f"{size}: nobody got a verdict in")
    wrong += [f"{told[name]} {name}" for name in ("lost", "doubled", "over_limit", "wrong_seat_counts") if told[name]]
    return wrong


def fill_house(data: Path, database: str, people: int, tasks: int) -> list[Person]:
    """A project with so many people and open tasks."""
    keys = fill(data, tasks=tasks, annotators=people, database=database)
    engine = make_engine(database or f"sqlite:///{data / 'tastemaker.db'}")
    secrets = [new_secret() for _ in keys]
    with write_session(engine) as session:
        for user_id, secret in zip(session.scalars(select(User.id).order_by(User.id)).all(), secrets, strict=True):
            expires = utc_now() + timedelta(days=1)
            session.add(SignInSession(user_id=user_id, id_hash=digest(secret), expires_at=expires))
    engine.dispose()
    return [Person(*both) for both in zip(keys, secrets, strict=True)]


def measure(kind: str, crowds: list[int], seconds: float, *, only_read: bool) -> dict[str, Any]:
    """Figures by size of the crowd, one after the other at one server."""
    found: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder, _database(kind) as database:
        data = Path(folder)
        people = fill_house(data, database, max(crowds), int(300 * seconds * len(crowds)) + LISTED * max(crowds))
        with serving(data, database) as server:
            _step_aside()
            uvloop.run(_label_first(server.url, people))
            everything = Record()
            for size in crowds:
                seen = uvloop.run(come(server.url, people[:size], seconds, only_read=only_read))
                everything.acknowledged.update(seen.verdicts.acknowledged)
                found[str(size)] = figures(seen, seconds)
                say(f"{kind}, {size}: {found[str(size)]}")
                time.sleep(1)
            rest["peak_rss_mib"] = server.peak_rss_mib()
        told = inspect(data, everything, database)
    return found | rest | told | {"broken": [f"{kind}, {wrong}" for wrong in broken(found, told, seconds, only_read=only_read)]}


def _step_aside() -> None:
    """The crowd is elsewhere: what it measures is not to be its own wait for a processor that the server keeps busy."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


def _database(kind: str) -> Any:
    return running(fsync=True) if kind == "postgresql" else nullcontext("")


async def _label_first(url: str, people: list[Person]) -> None:
    """Some at a time, so that it goes well with a program of any age."""
    waiting = list(people)

    async def work() -> None:
        while waiting:
            person = waiting.pop()
            async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {person.key}"}) as client:
                for _ in range(LISTED):
                    async with client.post(f"/api/v1/projects/{SLUG}/tasks/next") as reply:
                        task = await reply.json()
                    async with client.post(f"/api/v1/tasks/{task['id']}/label", json=verdict(task)) as reply:
                        assert reply.status == 201, await reply.text()

    await asyncio.gather(*(work() for _ in range(16)))
    await come(url, people[:2], 1.0)  # the first requests compile their statements and pages
    say("warm")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", default="50,200,500", help="sizes of the crowd, one after the other")
    options.add_argument("--databases", default="sqlite,postgresql")
    options.add_argument("--seconds", type=float, default=15.0, help="for each size")
    options.add_argument("--only-read", action="store_true", help="lists alone, no labelling")
    chosen = options.parse_args()
    crowds = [int(size) for size in chosen.clients.split(",")]
    result: dict[str, Any] = {"bench": "crowd", "seconds": chosen.seconds, "load": round(os.getloadavg()[0], 1)}
    for kind in chosen.databases.split(","):
        result[kind] = measure(kind, crowds, chosen.seconds, only_read=chosen.only_read)
    print(json.dumps(result), flush=True)
    wrong = [line for kind in chosen.databases.split(",") for line in result[kind]["broken"]]
    for line in wrong:
        say(line)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
