"""What pages and the API may read of a run folder: never more than a bounded part, never a path a person chose."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.errors import Conflict, Invalid, NotFound
from app.language.languages import _
from app.models.values import storable
from trainer.contract.folder import Refused, forget_unfinished, to_disk, whole
from trainer.contract.messages import Message
from trainer.contract.texts import text_of

WEIGHTS = ".safetensors"  # ends the names of the large files of a checkpoint; the others say what it was
LOG_BYTES = 64 * 1024
TEXT_BYTES = 20 * 2**20
TEXT_NAME = re.compile(r"[\w][\w .-]{0,120}\.(txt|jsonl)")
MOST_POINTS = 5_000
MOST_TEXTS = 100  # of one project
LONGEST_LINE = 1024 * 1024


def run_folder(runs: Path, run_id: int) -> Path:
    """Where a run works; it need not exist yet."""
    return runs / str(run_id)


def export_folder(runs: Path, run_id: int) -> Path:
    """Where `tastemaker checkpoint export` puts what the run made, as plain transformers opens it."""
    return run_folder(runs, run_id) / "export"


def log_tail(folder: Path, most: int = LOG_BYTES) -> str:
    """The last lines of log.txt, at most `most` bytes; empty while there is none."""
    try:
        with (folder / "log.txt").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            text = file.read(most).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return text if size <= most else text.partition("\n")[2]


def metric_rows(folder: Path, since_step: int = 0, limit: int = MOST_POINTS) -> list[dict[str, Any]]:
    """The last `limit` lines of metrics.jsonl from `since_step` on: {"step", "time", name: value, ...}."""
    rows = (row for row in _rows(folder / "metrics.jsonl") if isinstance(row.get("step"), int) and row["step"] >= since_step)
    return list(deque(rows, maxlen=limit))


def metric_names(rows: list[dict[str, Any]]) -> list[str]:
    """The names of the metrics in these rows, sorted."""
    return sorted({name for row in rows for name in row} - {"step", "time"})


def metric_series(rows: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of one metric; steps where it was not finite are left out."""
    points = [(row["step"], number(row.get(name))) for row in rows]
    return [(step, value) for step, value in points if value is not None]


def number(value: Any) -> float | None:
    """A metric's value, or None where it was not a finite number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def samples(folder: Path, limit: int = 500) -> list[dict[str, Any]]:
    """The last rows of samples.jsonl: the fixed panel's answers at each update of a PPO run."""
    return list(deque(_rows(folder / "samples.jsonl"), maxlen=limit))


def checkpoint_folder(data: Path, source: str) -> Path | None:
    """The folder of a checkpoint that lies on this machine; None for a hub id."""
    folder = Path(source) if Path(source).is_absolute() else data / source
    return folder if folder.is_dir() else None


def manifest(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest. Raises NotFound when there is none."""
    try:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise NotFound(_("This checkpoint has no manifest on this machine.")) from None
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise NotFound(_("This checkpoint has no manifest on this machine."))
    return found


def program(data: Path, source: str) -> str | None:
    """Which version of Tastemaker wrote a checkpoint; None where nothing on this machine says it."""
    folder = checkpoint_folder(data, source)
    if folder is None or not (folder / "manifest.json").is_file():
        return None
    told = manifest(folder).get("program")
    return str(told) if told is not None else None


def checkpoint_file(folder: Path, name: str) -> Path:
    """A file of a checkpoint by the name its manifest gives it, and by no other. Raises NotFound."""
    if name != "manifest.json" and name not in manifest(folder)["files"]:
        raise NotFound(_("This checkpoint has no such file."))
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise NotFound(_("This checkpoint has no such file."))
    return path


def texts_folder(data: Path, slug: str) -> Path:
    """A project's own texts to train on; it need not exist yet."""
    return data / "texts" / slug


def text_file(data: Path, slug: str, name: str) -> Path:
    """A text of this project. Raises NotFound for anything that lies elsewhere, and for what no file can be called."""
    folder = texts_folder(data, slug).resolve()
    path = (folder / name).resolve() if name in texts(data, slug) else None
    if path is None or path.parent != folder or not path.is_file():
        raise NotFound(Message("no_such_text", file=name))
    return path


def save_text(data: Path, slug: str, name: str, content: bytes) -> None:
    """Put a text where the project's sft runs find it. Raises Invalid for a bad name or text, Conflict for a taken name
    and where there are many already.
    """
    if not TEXT_NAME.fullmatch(name):
        raise Invalid(
            _("The name of a text is letters, digits, spaces, dots and dashes, and ends in .txt or .jsonl."),
            {"name": _("cannot be used")},
        )
    try:
        text_of(name, content)
    except Refused as refused:
        raise Invalid(refused.message, {"text": _("not UTF-8")}) from None
    if len(texts(data, slug)) >= MOST_TEXTS:
        raise Conflict(
            _("This project has %(most)s texts, and that is the most. Put them together, or take some away.", most=MOST_TEXTS)
        )
    folder = texts_folder(data, slug)
    for missing in (folder.parent, folder):  # not the data folder: where that is gone, so is everything else
        missing.mkdir(exist_ok=True)
        to_disk(missing.parent)
    forget_unfinished(folder)
    try:
        with whole(folder / name, new=True) as unfinished:
            unfinished.write_bytes(content)
    except FileExistsError:
        raise Conflict(_("There is a text named %(name)s already; choose another name.", name=name)) from None


def texts(data: Path, slug: str) -> list[str]:
    """The names of the files this project can train on."""
    folder = texts_folder(data, slug)
    return sorted(path.name for path in folder.glob("*") if path.suffix in (".txt", ".jsonl")) if folder.is_dir() else []


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines only: the last one may be in the middle of being written."""
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                if not line.endswith(b"\n"):
                    continue
                try:
                    row = storable(json.loads(line))
                except ValueError:
                    continue
                if isinstance(row, dict):
                    yield row
    except FileNotFoundError:
        return
