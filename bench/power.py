"""Power cuts during a labelling session: what the disk could hold at each of many moments, opened again.

    python bench/power.py [--points 200] [--verdicts 600] [--annotators 8] [--seed 0]

The web process runs under strace (`apt-get install strace`), which records in one order what it writes into the database's
files, when the disk said that it has that (fsync), and each reply that acknowledges a verdict. A power cut leaves what was
synced by then. Of what was not, the disk may have nothing, all, or any part, in any order, in sectors of 512 bytes: each kind
is tried in turn. The files are made as they would lie there, and opened: every verdict acknowledged before the cut must be in
them. The last line on stdout is one JSON object; `lost`, `broken` and `unreadable` should be 0.
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
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.database.engine import sqlite_module
from bench.stage import Record, Server, annotate, fill, say

SECTOR = 512
FILES = ("tastemaker.db", "tastemaker.db-wal")
CALLS = "pwrite64,ftruncate,fsync,fdatasync,unlink,write,writev,sendto,sendmsg"
UNSYNCED = ("nothing", "all", "a part")  # of what was written since the last fsync, what the disk has

_LINE = re.compile(r"^(?P<pid>\d+)\s+(?P<resumed><\.\.\. )?(?P<call>\w+)(?: resumed>|\()(?P<rest>.*)$")
_FILE = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>")
_WRITE = re.compile(r'^\d+<[^>]*>, "(?P<bytes>(?:\\x[0-9a-f]{2})*)", (?P<length>\d+), (?P<at>\d+)')
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_VERDICT = re.compile(rb'\{"id":(\d+),"task_id":\d+,"version"')


@dataclass(frozen=True, slots=True)
class Event:
    """`name`: the file of a write, a cut or a sync; `verdicts`: what a reply acknowledges."""

    kind: Literal["write", "cut", "sync", "gone", "reply"]
    name: str = ""
    at: int = 0
    data: bytes = b""
    verdicts: tuple[int, ...] = ()
    before: int = 0  # of a sync: how many events there were when it was asked for


@dataclass
class Disk:
    """One file: what the disk is sure to have, and what it may have beyond that, each with the number of its event."""

    sure: bytearray = field(default_factory=bytearray)
    there: bool = False
    unsynced: list[tuple[int, Event]] = field(default_factory=list)


# Recording


class Watched(Server):
    """The server under strace."""

    def __init__(self, data: Path, log: Path) -> None:
        super().__init__(data)
        self.before = [
            "strace",
            "-f",
            "-qq",
            "-y",
            "-xx",
            "-s",
            "1000000",
            "-e",
            f"trace={CALLS}",
            "-e",
            "signal=none",
            "-o",
            str(log),
        ]


async def label(server: Server, keys: Sequence[str], verdicts: int) -> Record:
    record, stop = Record(), asyncio.Event()
    people = [asyncio.create_task(annotate(number, key, server.url, stop, record)) for number, key in enumerate(keys)]
    while len(record.acknowledged) < verdicts and not record.errors and not record.ran_dry:
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*people)
    return record


def events_of(log: Path, data: Path) -> list[Event]:
    """What strace recorded, in its order. A write counts from when it was asked for, a sync from when it was answered."""
    found: list[Event] = []
    asked: dict[str, tuple[str, int]] = {}  # thread -> the file that it syncs, and when it asked
    with log.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            if (call := _LINE.match(line)) is not None:
                found += _events(call, asked, len(found), data)
    return found


def _events(call: re.Match[str], asked: dict[str, tuple[str, int]], number: int, data: Path) -> Iterator[Event]:
    name, rest, thread = call["call"], call["rest"], call["pid"]
    if call["resumed"]:
        if name in ("fsync", "fdatasync") and thread in asked and rest.rstrip().endswith("= 0"):
            file, before = asked.pop(thread)
            yield Event("sync", file, before=before)
        return
    if name == "unlink":
        if file := _ours(_text(_TEXT.search(rest)), data):
            yield Event("gone", file)
        return
    path = _text(_FILE.match(rest))
    file = _ours(path, data)
    if name in ("fsync", "fdatasync") and file:
        if "<unfinished" in rest:
            asked[thread] = (file, number)
        elif rest.rstrip().endswith("= 0"):
            yield Event("sync", file, before=number)
    elif name == "pwrite64" and file:
        written = _WRITE.match(rest)
        assert written is not None, rest[:200]
        yield Event("write", file, int(written["at"]), _bytes(written["bytes"]))
    elif name == "ftruncate" and file:
        yield Event("cut", file, int(re.findall(r"\d+", rest.partition(">, ")[2])[0]))
    elif path.startswith("socket:"):
        said = b"".join(_bytes(text) for text in _TEXT.findall(rest))
        if verdicts := tuple(int(number) for number in _VERDICT.findall(said)):
            yield Event("reply", verdicts=verdicts)


def _ours(path: str, data: Path) -> str:
    folder, _, name = path.rpartition("/")
    return name if folder == str(data) and name in FILES else ""


def _text(found: re.Match[str] | None) -> str:
    return _bytes(found[1]).decode(errors="replace") if found is not None else ""


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


# Cutting the power


def cuts(events: Sequence[Event], points: int, draw: random.Random) -> list[int]:
    """How many events each cut comes after: a third right after a reply, a third before a sync is answered, the rest anywhere."""
    replies = [index + 1 for index, event in enumerate(events) if event.kind == "reply"]
    syncs = [index for index, event in enumerate(events) if event.kind == "sync"]
    anywhere = range(len(events) + 1)
    third = points // 3
    return sorted([*draw.choices(replies, k=third), *draw.choices(syncs, k=third), *draw.choices(anywhere, k=points - 2 * third)])


def replay(
    events: Sequence[Event], first: dict[str, bytes], points: Sequence[int], draw: random.Random
) -> Iterator[tuple[int, str, dict[str, bytes], set[int]]]:
    """For each point: which kind of cut, the files as the disk has them, and the verdicts acknowledged so far."""
    disks = {name: Disk(bytearray(first.get(name, b"")), name in first) for name in FILES}
    acknowledged: set[int] = set()
    done = 0
    for count, point in enumerate(points):
        for number in range(done, point):
            _happen(disks, number, events[number], acknowledged)
        done = point
        kind = UNSYNCED[count % len(UNSYNCED)]
        yield (
            point,
            kind,
            {name: _left(disk, kind, draw) for name, disk in disks.items() if _is_left(disk, kind)},
            set(acknowledged),
        )


def _happen(disks: dict[str, Disk], number: int, event: Event, acknowledged: set[int]) -> None:
    if event.kind == "reply":
        acknowledged.update(event.verdicts)
        return
    disk = disks[event.name]
    if event.kind == "gone":
        disks[event.name] = Disk()
    elif event.kind == "sync":
        for _, earlier in (pair for pair in disk.unsynced if pair[0] < event.before):
            _apply(disk.sure, earlier)
        disk.unsynced = [pair for pair in disk.unsynced if pair[0] >= event.before]
        disk.there = True
    else:
        disk.unsynced.append((number, event))


def _is_left(disk: Disk, kind: str) -> bool:
    return disk.there or (kind != "nothing" and bool(disk.unsynced))


def _left(disk: Disk, kind: str, draw: random.Random) -> bytes:
    left = bytearray(disk.sure)
    for _, event in disk.unsynced:
        if kind == "all":
            _apply(left, event)
        elif kind == "a part":
            _apply_in_part(left, event, draw)
    return bytes(left)


def _apply(file: bytearray, event: Event) -> None:
    if event.kind == "cut":
        del file[event.at :]
        file.extend(bytes(event.at - len(file)))
        return
    file.extend(bytes(max(0, event.at + len(event.data) - len(file))))
    file[event.at : event.at + len(event.data)] = event.data


def _apply_in_part(file: bytearray, event: Event, draw: random.Random) -> None:
    """Each sector with the chance of a coin; a file is cut to a length or not at all."""
    if event.kind == "cut":
        if draw.random() < 0.5:
            _apply(file, event)
        return
    start = 0
    while start < len(event.data):
        end = min(len(event.data), start + SECTOR - (event.at + start) % SECTOR)
        if draw.random() < 0.5:
            _apply(file, Event("write", event.name, event.at + start, event.data[start:end]))
        start = end


def look(folder: Path, files: dict[str, bytes], acknowledged: set[int]) -> tuple[int, str]:
    """How many acknowledged verdicts are not in these files, and what the database says against itself."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sqlite = sqlite_module()
    with closing(sqlite.connect(folder / FILES[0])) as database:
        problems = [row[0] for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
        problems += [f"orphan in {row[0]}" for row in database.execute("PRAGMA foreign_key_check")]
        labels = {row[0] for row in database.execute("SELECT id FROM labels")}
    return len(acknowledged - labels), "; ".join(problems[:3])


def cut_power(points: int, verdicts: int, annotators: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong in words."""
    draw = random.Random(seed)
    began = time.monotonic()
    wrong: list[str] = []
    result = {"bench": "power", "recorder": "strace", "points": points, "annotators": annotators, "seed": seed}
    figures = {"lost": 0, "broken": 0, "unreadable": 0}
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        data, log = Path(folder).resolve() / "data", Path(folder) / "calls"
        keys = fill(data, tasks=verdicts * 2, annotators=annotators)
        first = {FILES[0]: (data / FILES[0]).read_bytes()}
        server = Watched(data, log)
        try:
            server.start()
            record = asyncio.run(label(server, keys, verdicts))
        finally:
            server.stop()
        events = events_of(log, data)
        chosen = cuts(events, points, draw)
        for point, kind, files, acknowledged in replay(events, first, chosen, draw):
            try:
                lost, problems = look(Path(folder) / "after", files, acknowledged)
            except sqlite_module().Error as error:
                figures["unreadable"] += 1
                wrong.append(f"cut after event {point}, of the unsynced {kind}: {error}")
                continue
            figures["lost"] += lost
            figures["broken"] += bool(problems)
            if lost or problems:
                wrong.append(f"cut after event {point}, of the unsynced {kind}: {lost} lost; {problems}")
    result |= {
        "seconds": round(time.monotonic() - began, 1),
        "acknowledged": len(record.acknowledged),
        "acknowledged_in_log": sum(len(event.verdicts) for event in events),
        "writes": sum(event.kind == "write" for event in events),
        "syncs": sum(event.kind == "sync" for event in events),
        "syncs_of_the_database": sum(event.kind == "sync" and event.name == FILES[0] for event in events),
        "errors": len(record.errors),
    }
    return result | figures, [*record.errors, *wrong]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--points", type=int, default=200)
    options.add_argument("--verdicts", type=int, default=600)
    options.add_argument("--annotators", type=int, default=8)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    if shutil.which("strace") is None:
        raise SystemExit("This bench records by strace: apt-get install strace")
    result, wrong = cut_power(chosen.points, chosen.verdicts, chosen.annotators, chosen.seed)
    for sentence in wrong[:5]:
        say(sentence)
    print(json.dumps(result))
    bad = any(result[name] for name in ("lost", "broken", "unreadable", "errors"))
    raise SystemExit(bad or result["acknowledged_in_log"] < result["acknowledged"])


if __name__ == "__main__":
    main()
