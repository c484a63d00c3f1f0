"""What must hold of a week (`bench/week.py`): what was found goes in, and what is wrong with it comes out, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.week_checks import ROWS, changed, differences, misquoted, not_of_its_moment, rows_of, unlike, unsound
from bench.week_people import Ledger

Rows = Mapping[str, dict[str, Any]]  # by client_id

MONDAY = 60  # labels given to the first version
LABELS_A_ROUND = 20  # at least, or nothing was tried
LATE_S = 1.0  # a failure may be noted so long after the server was back
SLOW_S = 5.0  # a verdict may take so long while nothing is restarted
GROWN_MIB = 100  # the last web process may have so much more at its end
WEIGHED_MINUTES = 5  # a shorter week has no process that lived long enough to be weighed


def of_run(run: Mapping[str, Any], what: str) -> list[str]:
    return [] if run["state"] == "done" else [f"{what} ended {run['state']}: {run['message']}"]


def of_round(found: Mapping[str, Any], end: str) -> list[str]:
    decided = end in ("promoted", "rejected", "refused")
    return [] if decided else [f"round {found['id']} ended {end}: {found['reason']}"]


def of_old(old: Rows, rows: Rows, what: str) -> list[str]:
    """Of the first version's verdicts, once something was done with them."""
    wrong = [] if len(old) >= MONDAY else [f"{len(old)} verdicts of the first version"]
    lost = unlike(old, rows)
    return wrong + ([f"{what} lost or changed {len(lost)} verdicts of the first version: {lost[:3]}"] if lost else [])


def of_upgrade(kept: Sequence[Path]) -> list[str]:
    """Of the copies from before it."""
    wrong = [] if len(kept) == 1 else [f"{len(kept)} copies from before the upgrade"]
    return wrong + [f"the copy from before the upgrade: {found[:3]}" for copy in kept if (found := unsound(copy))]


def of_copy(told: Mapping[str, bytes], ledger: Ledger, began: float, ended: float) -> list[str]:
    """Of what was exported from a backup that was made between two moments while people worked."""
    rows = rows_of(told[ROWS])
    wrong = not_of_its_moment(rows, ledger, began, ended)
    wrong += [f"{name} is empty" for name, found in told.items() if not found]
    return wrong + ([f"{len(found)} verdicts say something else"] if (found := misquoted(rows, ledger.said)) else [])


def of_stop(data: Path) -> list[str]:
    """Of a data folder whose processes were stopped."""
    return ["a write-ahead log is left where nothing runs"] if (data / "tastemaker.db-wal").exists() else []


def of_end(before: Mapping[str, Any], after: Mapping[str, Any], printed: bytes, told: Mapping[str, int]) -> list[str]:
    """Of exports and lists before and after the restore, of what the command wrote, and of what the database says."""
    wrong = [] if printed == before[ROWS] else ["`tastemaker export` writes something else than the page"]
    wrong += differences(before, after, "restored")
    return wrong + [f"{name}: {count}" for name, count in told.items() if count]


def of_verdicts(rows: Rows, copies: Sequence[Rows], ledger: Ledger) -> list[str]:
    """Of all verdicts in the end, beside those of each backup and what people sent."""
    wrong = [
        f"{len(found)} verdicts of backup {number} are no more what they were"
        for number, copy in enumerate(copies, 1)
        if (found := changed(copy, rows))
    ]
    if found := misquoted(rows, ledger.said):
        wrong.append(f"{len(found)} verdicts say something else: {found[:3]}")
    if rows.keys() != ledger.heard.acknowledged.keys():
        wrong.append("the export has other verdicts than were acknowledged")
    return wrong


@dataclass(frozen=True)
class Done:
    """How much was done in a week, and how much of it was to be done."""

    rounds: int
    people: int
    copies: int
    kinds_of_restarts: int
    ends: Sequence[str]  # of rounds, the first version's first
    copied: int
    judges: Collection[str]
    restarts: Mapping[str, int]
    verdicts: int


def of_work(done: Done) -> list[str]:
    decided = sum(end in ("promoted", "rejected") for end in done.ends)
    return [
        sentence
        for right, sentence in (
            (done.verdicts >= MONDAY + LABELS_A_ROUND * done.rounds, f"only {done.verdicts} verdicts"),
            (len(done.ends) == done.rounds + 1, f"{len(done.ends)} rounds of {done.rounds + 1}"),
            (decided * 2 >= len(done.ends), f"only {decided} of {len(done.ends)} rounds came to a decision"),
            (done.copied == done.copies, f"{done.copied} backups of {done.copies}"),
            (len(done.judges) == done.people, f"{len(done.judges)} of {done.people} people judged"),
            (len(done.restarts) == done.kinds_of_restarts, f"restarts: {dict(done.restarts)}"),
        )
        if not right
    ]


def of_waits(ledger: Ledger, windows: Sequence[tuple[float, float]]) -> list[str]:
    """Of what people were told. `windows`: while no web process answered."""
    heard = ledger.heard
    wrong = [f"{len(heard.errors)} refusals: {heard.errors[:5]}"] if heard.errors else []
    if beyond := [status for at, status in heard.troubles if not disturbed(windows, at, at)]:
        wrong.append(f"{len(beyond)} failures outside of restarts: {dict(Counter(beyond))}")
    if (slowest := max(undisturbed_s(ledger, windows), default=0.0)) > SLOW_S:
        wrong.append(f"a verdict took {slowest:.1f} s while nothing was restarted")
    return wrong


def undisturbed_s(ledger: Ledger, windows: Sequence[tuple[float, float]]) -> list[float]:
    """How long verdicts took while a web process answered."""
    waits = [(said.sent_at, said.answered_at) for said in ledger.said.values() if said.answered_at is not None]
    return [end - start for start, end in waits if not disturbed(windows, start, end)]


def disturbed(windows: Sequence[tuple[float, float]], start: float, end: float) -> bool:
    """Whether no web process answered at some moment between the two."""
    return any(start <= back + LATE_S and end >= away for away, back in windows)


def of_memory(memory: Mapping[str, Mapping[str, Any]], minutes: float) -> list[str]:
    """Of what the first and the last process of each kind had once they had settled, and at their ends."""
    grown = {name: life["mib"][1] - life["mib"][0] for name, life in memory.items()}
    wrong = [f"{name} grew by {mib} MiB" for name, mib in grown.items() if mib > GROWN_MIB]
    if minutes >= WEIGHED_MINUTES and not any(name.startswith("last") for name in memory):
        wrong.append("no process lived long enough to be weighed")
    return wrong
