"""What a disk may hold after a power cut, worked out by hand."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from app.database.engine import sqlite_module
from bench.power import FILES, Event, events_of, look, replay

DATABASE, LOG = FILES
WRITTEN = [
    Event("write", LOG, 0, b"AA"),
    Event("sync", LOG, before=1),
    Event("reply", verdicts=(1,)),
    Event("write", LOG, 2, b"BB"),
    Event("write", LOG, 4, b"CC"),
    Event("sync", LOG, before=4),  # asked for before the last write
    Event("reply", verdicts=(2,)),
]


def left(point: int, kind: str) -> tuple[bytes | None, set[int]]:
    for _, found, files, acknowledged in replay(WRITTEN, {DATABASE: b"first"}, [point] * 3, random.Random(0)):
        if found == kind:
            return files.get(LOG), acknowledged
    raise AssertionError(kind)


def test_what_was_synced_is_there_and_of_the_rest_nothing_or_all() -> None:
    assert left(1, "nothing") == (None, set())
    assert left(1, "all") == (b"AA", set())
    assert left(3, "nothing") == (b"AA", {1})
    assert left(5, "nothing") == (b"AA", {1})
    assert left(5, "all") == (b"AABBCC", {1})
    assert left(7, "nothing") == (b"AABB", {1, 2}), "a sync is of what was written before it was asked for"


def test_a_part_is_of_whole_sectors() -> None:
    events = [Event("write", LOG, 256, b"x" * 1024)]
    seen = set()
    for _, kind, files, _ in replay(events, {}, [1] * 300, random.Random(0)):
        if kind == "a part":
            content = files[LOG]
            seen.add((content[256:512], content[512:1024], content[1024:1280]))
    assert {part[:1] for parts in seen for part in parts} <= {b"x", b"\0", b""}
    assert all(set(part) <= {120} or set(part) <= {0} for parts in seen for part in parts)
    assert len(seen) > 4


def test_a_record_of_strace_is_read_in_its_order(tmp_path: Path) -> None:
    file = "".join(f"\\x{byte:02x}" for byte in f"/data/{LOG}".encode())
    socket = "".join(f"\\x{byte:02x}" for byte in b"socket:[7]")
    reply = "".join(f"\\x{byte:02x}" for byte in b'{"id":41,"task_id":7,"version":1}')
    (tmp_path / "calls").write_text(
        f'11 pwrite64(3<{file}>, "\\x41\\x42", 2, 32) = 2\n'
        f"11 fsync(3<{file}> <unfinished ...>\n"
        f'12 pwrite64(4<{file}>, "\\x43", 1, 34) = 1\n'
        "11 <... fsync resumed>)             = 0\n"
        f'12 writev(9<{socket}>, [{{iov_base="{reply}", iov_len=33}}], 1) = 33\n'
        f"12 ftruncate(4<{file}>, 0) = 0\n"
    )
    assert events_of(tmp_path / "calls", Path("/data")) == [
        Event("write", LOG, 32, b"AB"),
        Event("write", LOG, 34, b"C"),
        Event("sync", LOG, before=1),
        Event("reply", verdicts=(41,)),
        Event("cut", LOG, 0),
    ]


def test_a_verdict_that_is_not_there_is_counted(tmp_path: Path) -> None:
    with closing(sqlite_module().connect(tmp_path / "first.db")) as database:
        database.execute("CREATE TABLE labels (id INTEGER PRIMARY KEY)")
        database.execute("INSERT INTO labels VALUES (2)")
        database.commit()
    assert look(tmp_path / "after", {DATABASE: (tmp_path / "first.db").read_bytes()}, {1, 2, 3}) == (2, "")
