"""What `bench/week.py` compares: exports, lists, copies of the database, and all of them with what people sent."""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from app.database.engine import sqlite_module
from app.exports.rows import FORMATS
from bench.installation import SLUG, Installation
from bench.week_people import Ledger, Said

ASKED: tuple[dict[str, str], ...] = (
    *({"format": name, "as": written} for name in FORMATS for written in ("jsonl", "csv")),
    {"format": "preference", "min_agreement": "0.6"},
    {"format": "ratings", "split": "train"},
    {"format": "labels", "since": "2020-01-01"},
)
LISTS = ("prompts", "generations", "checkpoints", "rounds", "runs", "labels?history=true", "audit")
ROWS = "labels jsonl"  # the export that has every version of every label
LOOK_S = 5.0
SETTLED_S = 15.0  # a process has then loaded what it needs


def exports(house: Installation) -> dict[str, bytes]:
    """Every kind in every format."""
    found = {}
    for query in ASKED:
        reply = house.api.get(f"/projects/{SLUG}/export", params=query)
        found[" ".join(query.values())] = reply.raise_for_status().content
    return found


def lists(house: Installation) -> dict[str, Any]:
    """Every list of the project that is read page by page."""
    found = {}
    for name in LISTS:
        path, _, query = name.partition("?")
        found[name] = house.pages(f"/projects/{SLUG}/{path}", **dict(one.split("=") for one in query.split("&") if one))
    return found


def differences(before: Mapping[str, Any], after: Mapping[str, Any], what: str) -> list[str]:
    """In words, by name; nothing that is compared may be empty."""
    wrong = [f"{what}: {name} is empty" for name, found in before.items() if not found]
    for name, found in before.items():
        ours, theirs = _text(found), _text(after.get(name, ""))
        if ours == theirs:
            continue
        at = next((place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), len(theirs))
        around = slice(max(0, at - 60), at + 60)
        wrong.append(f"{what}: {name} differs at {at} of {len(ours)}: {ours[around]!r} became {theirs[around]!r}")
    return wrong


def _text(found: Any) -> str:
    return found.decode() if isinstance(found, bytes) else json.dumps(found)


def rows_of(export: bytes) -> dict[str, dict[str, Any]]:
    """Of the export `ROWS`, each version by its `client_id`. Raises ValueError when one is there twice."""
    rows = [json.loads(line) for line in export.decode().splitlines()]
    found = {row["client_id"]: row for row in rows}
    if len(found) != len(rows):
        raise ValueError(f"{len(rows) - len(found)} verdicts are there twice")
    return found


def misquoted(rows: Mapping[str, dict[str, Any]], said: Mapping[str, Said]) -> list[str]:
    """The verdicts that say something else than was sent."""
    return [client_id for client_id, row in rows.items() if client_id in said and not _quotes(row, said[client_id])]


def _quotes(row: dict[str, Any], said: Said) -> bool:
    body = said.body
    told = row["task_id"], row["choice"], row["strength"], row["overall"], row["withdrawn"]
    if told != (said.task, body.get("choice", ""), body.get("strength") or 0, body.get("overall", 0), said.withdraws):
        return False
    rewrite = body.get("rewrite", "")
    text = rewrite["text"] if isinstance(rewrite, dict) else rewrite
    return said.withdraws or (row["comment"] == body.get("comment", "") and row["rewrite"]["text"] == text)


def unlike(before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]]) -> list[str]:
    """Rows of an earlier export that a later one lacks or tells differently, but for whether they are in force still.

    Fields that only one of them has are left out, and nothing is as good as an empty text or 0: an earlier version wrote null.
    """
    return [name for name, row in before.items() if name not in after or not _alike(row, after[name])]


def _alike(before: dict[str, Any], after: dict[str, Any]) -> bool:
    plain = (name for name in before.keys() & after.keys() - {"current"} if isinstance(after[name], str | int))
    return all((before[name] or type(after[name])()) == after[name] for name in plain)


def changed(before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]]) -> list[str]:
    """As `unlike` where both are of one version: every field counts."""
    return [name for name, row in before.items() if row | {"current": None} != after.get(name, {}) | {"current": None}]


def restore(copy: Path, data: Path, house: Installation, model: Path, runs: Path | None = None) -> Installation:
    """As docs/operations.md has it: a copy put in place in a new folder, and a web process on another port. `runs`: put back."""
    data.mkdir(parents=True)
    shutil.copy(copy, data / "tastemaker.db")
    if runs is not None:
        shutil.copytree(runs, data / "runs")
    restored = Installation(data, model)
    restored.key = house.key
    restored.start_web()
    return restored


def unsound(copy: Path) -> list[str]:
    """What SQLite itself has against a file."""
    library = sqlite_module()
    try:
        with closing(library.connect(f"file:{copy}?mode=ro", uri=True)) as database:
            found = [row[0] for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
            return found + [f"a row of {row[0]} points at nothing" for row in database.execute("PRAGMA foreign_key_check")]
    except library.DatabaseError as error:
        return [str(error)]


def not_of_its_moment(rows: Mapping[str, Any], ledger: Ledger, began: float, ended: float) -> list[str]:
    """What is wrong with the verdicts in a copy that was made between two moments."""
    lost = ledger.acknowledged_by(began) - rows.keys()
    made_up = rows.keys() - ledger.sent_by(ended)
    wrong = [f"lacks {len(lost)} verdicts that were acknowledged before"] if lost else []
    return wrong + ([f"has {len(made_up)} verdicts that nobody had sent"] if made_up else [])


class Memory:
    """What web and worker have, looked at while they come and go."""

    def __init__(self, house: Installation) -> None:
        self._house = house
        self._lives: dict[tuple[str, int], list[tuple[float, float]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_S):
            for name, (pid, mib) in self._house.rss_mib().items():
                self._lives.setdefault((name, pid), []).append((time.monotonic(), mib))

    def figures(self) -> dict[str, Any]:
        """Of the first process of each kind and of the last: MiB once it had settled, and at its end, and how long that was."""
        self._stop.set()
        self._thread.join()
        found: dict[str, Any] = {}
        for kind in ("web", "worker"):
            lives = [_settled(seen) for (name, _), seen in self._lives.items() if name == kind and _settled(seen)]
            for which, life in ("first", lives[:1]), ("last", lives[-1:]):
                if life:
                    seen = life[0]
                    ends = [round(statistics.median(mib for _, mib in part)) for part in (seen[:3], seen[-3:])]
                    found[f"{which}_{kind}"] = {"mib": ends, "minutes": round((seen[-1][0] - seen[0][0]) / 60, 1)}
        return found


def _settled(seen: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(at, mib) for at, mib in seen if at >= seen[0][0] + SETTLED_S]


def sizes_mb(data: Path) -> dict[str, float]:
    """What lies in a data folder."""
    found = {}
    for path in sorted(data.iterdir()):
        files = path.rglob("*") if path.is_dir() else (path,)
        found[path.name] = round(sum(one.stat().st_size for one in files if one.is_file()) / 1e6, 1)
    return {name: size for name, size in found.items() if size}
