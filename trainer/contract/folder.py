"""A run folder: what a run is told, and what it says while it works. Knows files only.

`docs/architecture.md`, "A run is a command on a folder", lists the files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from trainer.contract.config import RunConfig, make_config
from trainer.contract.english import SpokenError, english
from trainer.contract.messages import Message, as_json
from trainer.contract.new_file import put_new

UNDATED = date(2026, 1, 1)  # the day of a run that names none; never the clock's, under which nothing could be repeated
A_PAGE = 4096  # bytes
UNFINISHED = ".tmp"  # ends the name of what is being written
NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)
EXIT_DONE, EXIT_REFUSED, EXIT_CANCELLED, EXIT_RETRY = 0, 2, 3, 75


class Refused(SpokenError):
    """The run cannot be done with what it was given; the message is for the person who asked, figures stand in result.json."""

    def __init__(self, message: Message, figures: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.figures = dict(figures or {})


class Lost(Exception):
    """Another of the processes that do this run together is gone; the run's resumable state is on disk."""


class Unanswered(Refused):
    """Somebody outside did not do their part: the run ends with its state on disk, and done again it goes on."""


class Cancelled(Exception):
    """A person or a shutdown stopped the run; its resumable state is on disk. Figures stand in result.json."""

    def __init__(self, figures: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.figures = dict(figures or {})


def write_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace `path` by `text`: a reader sees the old file or the new one, never a part. `durable`: it survives a power cut."""
    with whole(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path, *, durable: bool = True, new: bool = False) -> Iterator[Path]:
    """A place beside `path` for a file to be written to, which becomes `path` when the block ends well.

    Of a block that fails nothing stays. `durable`: the file survives a power cut. `new`: raises FileExistsError where there is
    a file already, also one that was made meanwhile.
    """
    unfinished = path.with_name(f"{path.name}.{threading.get_native_id()}{UNFINISHED}")
    try:
        yield unfinished
        if durable:
            to_disk(unfinished)
        if new:
            put_new(unfinished, path)
        else:
            unfinished.replace(path)
        if durable:
            to_disk(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def forget_unfinished(folder: Path, silent_s: float = 3600.0) -> None:
    """Remove what processes that were killed had begun to write there; not what was written to in the last so many seconds."""
    for left in folder.glob(f"*{UNFINISHED}"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime < silent_s:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


def keep_private() -> None:
    """What this process writes, and what those write that it starts, is for its own account of the machine alone."""
    os.umask(0o077)


def to_disk(path: Path) -> None:
    """Make what was written to a file, or to the names in a folder, survive a power cut.

    Some shares in a network keep no folder for that: the names in one are then where the other machine puts them.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FOLDERS or not path.is_dir():
            raise
    finally:
        os.close(handle)


def make(folder: Path) -> None:
    """Make a folder, with those it lies in where they are missing, that a power cut does not take back."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        to_disk(one.parent)


def write_a_page(folder: Path) -> None:
    """Raises OSError where a page cannot be brought to the folder's disk. The file has no name, so that none stays."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(A_PAGE))
        file.flush()
        os.fsync(file.fileno())


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; nothing if the file is absent."""
    if not path.exists():
        return
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def drop_broken_tail(path: Path) -> None:
    """Forget a last line of a JSON-lines file that a crash cut short; it would be half a row."""
    if not path.exists():
        return
    whole_lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        whole_lines.append(line.decode())
    write_atomic(path, "".join(whole_lines))


def digest_of(folder: Path, *names: str) -> str:
    """The common SHA-256 of some files of a folder: the hash of their hashes."""
    digest = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def day_beside(checkpoint: Path) -> date:
    """The day that chat templates wrote in the run that made a checkpoint, as the run's folder around it says."""
    spec = checkpoint.resolve().parent / "run.json"
    return _day_of(json.loads(spec.read_text(encoding="utf-8"))) if spec.is_file() else UNDATED


def _day_of(spec: Mapping[str, Any]) -> date:
    return date.fromisoformat(spec["day"]) if spec.get("day") else UNDATED


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path, home: Path | None = None) -> None:
        """`home`: the run's folder, where this is what another process of the same run has for itself."""
        self.path = path.resolve()
        self.home = home.resolve() if home else self.path
        spec = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        self.kind: str = spec["kind"]
        self.config: RunConfig = make_config(self.kind, spec.get("config", {}))
        self.inputs: dict[str, Any] = spec.get("inputs", {})
        self.day = _day_of(spec)  # under which templates write
        self._stopping = False
        self._started: tuple[float, int] | None = None
        self._bar: Any = None

    def catch_signals(self) -> None:
        """Let SIGTERM and SIGINT cancel politely; call once, from the main thread."""

        def stop(_signal: int, _frame: FrameType | None) -> None:
            self._stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def file(self, name: str) -> Path:
        return self.path / name

    def resolve(self, source: str) -> str:
        """A model spec as the loaders take it: paths relative to the folder become absolute, hub ids stay."""
        local = self.home / source
        return str(local.resolve()) if local.exists() else source

    @property
    def stopping(self) -> bool:
        return self._stopping or (self.home / "cancel").exists()

    def check(self) -> None:
        """Raise Cancelled when someone asked to stop. Call between units of work of at most a few seconds."""
        if self.stopping:
            raise Cancelled

    def progress(self, step: int, total: int, message: Message) -> None:
        """Say where the run is: progress.json for the pages, a bar for a terminal. `step` counts finished steps."""
        now = time.monotonic()
        if self._started is None or step <= self._started[1]:  # what came before the first step, loading say, is no pace
            self._started = (now, step)
        elapsed, done = now - self._started[0], step - self._started[1]
        rate = done / elapsed if done and elapsed > 0 else None
        write_atomic(
            self.file("progress.json"),
            json.dumps(
                {
                    "step": step,
                    "total": total,
                    "message": as_json(message),
                    "rate_per_s": rate,
                    "eta_s": (total - step) / rate if rate else None,
                    "updated_at": datetime.now(UTC).isoformat(),
                }
            ),
            durable=False,  # written for every answer, where waiting for the disk would cost more than the answer
        )
        self._draw(step, total, english(message))

    def finish(self, status: str, **figures: Any) -> None:
        """Write result.json: the run's last word, once what it tells of is on the disk."""
        for rows in self.path.glob("*.jsonl"):
            to_disk(rows)
        plain = {name: as_json(value) if isinstance(value, Message) else value for name, value in figures.items()}
        write_atomic(self.file("result.json"), json.dumps({"status": status, **plain}, indent=1))
        if self._bar is not None:
            self._bar.close()

    def append(self, name: str, rows: list[Mapping[str, Any]]) -> None:
        """Append rows to a JSON-lines file of the folder."""
        with self.file(name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def _draw(self, step: int, total: int, message: str) -> None:
        if self.home != self.path:
            return
        if not sys.stderr.isatty():
            print(f"[{step}/{total}] {message}", flush=True)
            return
        if self._bar is None or self._bar.total != total:
            self._bar = tqdm(total=total, initial=step, file=sys.stderr)
        self._bar.n = step
        self._bar.set_description_str(message)
        self._bar.refresh()
