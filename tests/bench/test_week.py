from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.database.engine import sqlite_module
from bench import week_limits as limits
from bench.installation import ROOT, Installation, first_version
from bench.week import Week
from bench.week_checks import ROWS, changed, differences, misquoted, not_of_its_moment, rows_of, unlike, unsound
from bench.week_people import Ledger, Said


def row(client_id: str, **said: Any) -> dict[str, Any]:
    plain = {"task_id": 1, "choice": "left", "strength": 2, "overall": 0, "withdrawn": False, "comment": "", "current": True}
    return {"client_id": client_id, **plain, "rewrite": {"side": "", "text": ""}} | said


def ledger(**said: Said) -> Ledger:
    return Ledger(said)


def said(sent_at: float, answered_at: float | None, **body: Any) -> Said:
    return Said(1, {"choice": "left", "strength": 2, **body}, withdraws=False, sent_at=sent_at, answered_at=answered_at)


def test_a_copy_has_what_was_acknowledged_before_it_and_may_have_what_was_sent_meanwhile() -> None:
    everybody = ledger(before=said(1, 2), meanwhile=said(3, 6), unanswered=said(4, None), later=said(6, 7))
    assert not_of_its_moment(dict.fromkeys(["before"]), everybody, 2.5, 5) == []
    assert not_of_its_moment(dict.fromkeys(["before", "meanwhile", "unanswered"]), everybody, 2.5, 5) == []
    assert not_of_its_moment(dict.fromkeys(["meanwhile"]), everybody, 2.5, 5) == [
        "lacks 1 verdicts that were acknowledged before"
    ]
    assert not_of_its_moment(dict.fromkeys(["before", "later"]), everybody, 2.5, 5) == ["has 1 verdicts that nobody had sent"]


def test_a_verdict_that_is_there_twice_is_no_export() -> None:
    line = json.dumps(row("a")).encode() + b"\n"
    assert list(rows_of(line)) == ["a"]
    with pytest.raises(ValueError, match="1 verdicts are there twice"):
        rows_of(line + line)


@pytest.mark.parametrize("other", [{"choice": "right"}, {"strength": 1}, {"comment": "no"}, {"task_id": 2}, {"withdrawn": True}])
def test_a_verdict_that_says_something_else_than_was_sent_is_found(other: dict[str, Any]) -> None:
    sent = {"a": said(1, 2)}
    assert misquoted({"a": row("a")}, sent) == []
    assert misquoted({"a": row("a", **other)}, sent) == ["a"]


def test_an_earlier_version_wrote_null_where_nothing_was_said() -> None:
    old = {"a": {**row("a"), "overall": None, "comment": None, "gone": 1}}
    assert unlike(old, {"a": row("a", new="x", current=False)}) == []
    assert unlike(old, {"a": row("a", comment="x")}) == ["a"]
    assert unlike(old, {}) == ["a"]


def test_of_one_version_only_whether_it_is_in_force_may_change() -> None:
    assert changed({"a": row("a")}, {"a": row("a", current=False)}) == []
    assert changed({"a": row("a")}, {"a": row("a", new="x")}) == ["a"]


def test_a_difference_is_named_and_nothing_empty_counts_as_equal() -> None:
    assert differences({"a": b"same", "b": [1]}, {"a": b"same", "b": [1]}, "x") == []
    assert differences({"a": b"same"}, {"a": b"some"}, "x") == ["x: a differs at 1 of 4: 'same' became 'some'"]
    assert differences({"a": b"same"}, {"a": b"sam"}, "x") == ["x: a differs at 3 of 4: 'same' became 'sam'"]
    assert differences({"a": b""}, {"a": b""}, "x") == ["x: a is empty"]


# Each limit, on what is right but for one thing


def test_a_run_has_to_be_done() -> None:
    assert limits.of_run({"state": "done", "message": ""}, "it") == []
    assert limits.of_run({"state": "failed", "message": "no room"}, "it") == ["it ended failed: no room"]


@pytest.mark.parametrize("end", ["promoted", "rejected", "refused"])
def test_a_round_has_to_come_to_a_decision(end: str) -> None:
    assert limits.of_round({"id": 3, "reason": ""}, end) == []
    assert limits.of_round({"id": 3, "reason": "it broke"}, "failed") == ["round 3 ended failed: it broke"]


def test_no_verdict_of_the_first_version_may_be_lost() -> None:
    old = {str(number): row(str(number)) for number in range(limits.MONDAY)}
    assert limits.of_old(old, dict(old), "it") == []
    few = {name: old[name] for name in list(old)[1:]}
    assert limits.of_old(few, old, "it") == [f"{limits.MONDAY - 1} verdicts of the first version"]
    assert limits.of_old(old, few, "it") == ["it lost or changed 1 verdicts of the first version: ['0']"]
    assert limits.of_old(old, old | {"7": row("7", choice="right")}, "it") == [
        "it lost or changed 1 verdicts of the first version: ['7']"
    ]


def database(path: Path, *statements: str) -> Path:
    with closing(sqlite_module().connect(path)) as made:
        made.executescript(";".join(("CREATE TABLE one (id INTEGER PRIMARY KEY, why TEXT)", *statements)))
    return path


MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) INSERT INTO one SELECT i, hex(i) FROM n"
ASTRAY = "CREATE TABLE two (one_id INTEGER REFERENCES one (id))", "INSERT INTO two VALUES (5)"


def test_one_whole_copy_is_kept_from_before_an_upgrade(tmp_path: Path) -> None:
    whole = database(tmp_path / "whole.db")
    assert limits.of_upgrade([whole]) == []
    assert limits.of_upgrade([]) == ["0 copies from before the upgrade"]
    assert limits.of_upgrade([whole, whole]) == ["2 copies from before the upgrade"]
    assert limits.of_upgrade([database(tmp_path / "astray.db", *ASTRAY)]) == [
        "the copy from before the upgrade: ['a row of two points at nothing']"
    ]


@pytest.mark.parametrize(
    ("at", "wrong", "words"),
    [(3 * 4096, bytes(4096), "malformed"), (5 * 4096 + 3, bytes([0, 9]), "Fragmentation"), (0, b"x", "not a database")],
)
def test_a_torn_file_is_not_whole(tmp_path: Path, at: int, wrong: bytes, words: str) -> None:
    path = database(tmp_path / "torn.db", MANY)
    assert unsound(path) == []
    with path.open("r+b") as file:
        file.seek(at)
        file.write(wrong)
    assert words in unsound(path)[0]


def exported(*rows: dict[str, Any], **other: bytes) -> dict[str, bytes]:
    return {ROWS: b"".join(json.dumps(one).encode() + b"\n" for one in rows), "ratings csv": b"x", **other}


def test_a_backup_has_to_hold_what_was_said_until_then() -> None:
    everybody = ledger(a=said(1, 2), b=said(1, 2), later=said(6, 7))
    everybody.said["b"].body["choice"] = "right"
    right = row("b", choice="right")
    assert limits.of_copy(exported(row("a"), right), everybody, 3, 5) == []
    assert limits.of_copy(exported(row("a")), everybody, 3, 5) == ["lacks 1 verdicts that were acknowledged before"]
    assert limits.of_copy(exported(row("a"), right, row("later")), everybody, 3, 5) == ["has 1 verdicts that nobody had sent"]
    assert limits.of_copy(exported(row("a"), row("b")), everybody, 3, 5) == ["1 verdicts say something else"]
    assert limits.of_copy(exported(row("a"), right, **{"ratings csv": b""}), everybody, 3, 5) == ["ratings csv is empty"]
    with pytest.raises(ValueError, match="twice"):
        limits.of_copy(exported(row("a"), row("a")), everybody, 3, 5)


def test_a_backup_that_cannot_be_made_or_served_is_wrong_and_ends_no_week(tmp_path: Path) -> None:
    week = a_week(tmp_path, rounds=2, people=3)
    week.house = Installation(tmp_path / "house", tmp_path / "model", "nonsense://")
    week._back_up()
    (sentence,) = week.wrong
    assert sentence.startswith("backup 1: tastemaker backup ")
    assert week.copies == []


def test_nothing_is_left_to_be_written_where_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "tastemaker.db").touch()
    assert limits.of_stop(tmp_path) == []
    (tmp_path / "tastemaker.db-wal").touch()
    assert limits.of_stop(tmp_path) == ["a write-ahead log is left where nothing runs"]


def test_the_end_has_to_be_the_same_by_every_way() -> None:
    before = exported(row("a"))
    assert limits.of_end(before, before, before[ROWS], {"lost": 0, "failed_runs": 0}) == []
    assert limits.of_end(before, before, before[ROWS] + b" ", {}) == ["`tastemaker export` writes something else than the page"]
    (other,) = limits.of_end(before, before | {"ratings csv": b"y"}, before[ROWS], {})
    assert other.startswith("restored: ratings csv differs at 0 of 1")
    (gone,) = limits.of_end(before, {ROWS: before[ROWS]}, before[ROWS], {})
    assert gone.startswith("restored: ratings csv differs")
    assert limits.of_end(before, before, before[ROWS], {"lost": 2, "failed_runs": 1}) == ["lost: 2", "failed_runs: 1"]


def test_every_verdict_has_to_be_there_in_the_end_as_it_was_said() -> None:
    sent = ledger(a=said(1, 2), b=said(1, 2))
    sent.heard.acknowledged = {"a": 1, "b": 1}
    rows = {"a": row("a"), "b": row("b", current=False)}
    assert limits.of_verdicts(rows, [{"a": row("a")}, {"b": row("b")}], sent) == []
    assert limits.of_verdicts(rows, [{}, {"a": row("a", flags=["unsafe"])}], sent) == [
        "1 verdicts of backup 2 are no more what they were"
    ]
    assert limits.of_verdicts(rows | {"b": row("b", strength=3)}, [], sent) == ["1 verdicts say something else: ['b']"]
    missing = ["the export has other verdicts than were acknowledged"]
    assert limits.of_verdicts({"a": row("a")}, [], sent) == missing
    assert limits.of_verdicts(rows | {"c": row("c")}, [], sent) == missing


ENOUGH = limits.Done(
    rounds=2,
    people=2,
    copies=2,
    kinds_of_restarts=1,
    ends=["promoted", "rejected", "refused"],
    copied=2,
    judges={"ada", "mary"},
    restarts={"web stop": 1},
    verdicts=100,
)


@pytest.mark.parametrize(
    ("less", "sentence"),
    [
        ({"verdicts": 99}, "only 99 verdicts"),
        ({"ends": ["promoted", "rejected"]}, "2 rounds of 3"),
        ({"ends": ["promoted", "refused", "refused"]}, "only 1 of 3 rounds came to a decision"),
        ({"copied": 1}, "1 backups of 2"),
        ({"judges": {"ada"}}, "1 of 2 people judged"),
        ({"restarts": {}}, "restarts: {}"),
    ],
)
def test_a_week_in_which_too_little_was_done_is_wrong(less: dict[str, Any], sentence: str) -> None:
    assert limits.of_work(ENOUGH) == []
    assert limits.of_work(replace(ENOUGH, **less)) == [sentence]


def test_people_wait_and_fail_only_while_something_is_restarted() -> None:
    windows = [(10.0, 12.0)]
    waited = ledger(quick=said(1, 2), restarted=said(11, 30))
    waited.heard.troubles = [(11.0, 0), (12.5, 503)]
    assert limits.of_waits(waited, windows) == []
    waited.heard.troubles.append((15.0, 503))
    assert limits.of_waits(waited, windows) == ["1 failures outside of restarts: {503: 1}"]
    waited.heard.troubles = [(9.0, 0)]
    assert limits.of_waits(waited, windows) == ["1 failures outside of restarts: {0: 1}"]
    waited.heard.troubles = []
    assert limits.of_waits(waited, []) == ["a verdict took 19.0 s while nothing was restarted"]
    waited.heard.errors = ["/tasks/next 500"]
    assert limits.of_waits(waited, windows) == ["1 refusals: ['/tasks/next 500']"]


def test_a_process_may_not_grow_and_one_has_to_live_long_enough_for_that() -> None:
    lives = {"first_web": {"mib": [100, 150]}, "last_web": {"mib": [100, 200]}}
    assert limits.of_memory(lives, 48) == []
    assert limits.of_memory(lives | {"last_worker": {"mib": [100, 201]}}, 48) == ["last_worker grew by 101 MiB"]
    assert limits.of_memory({}, 48) == ["no process lived long enough to be weighed"]
    assert limits.of_memory({}, 0) == []


# As the week puts them together


def a_week(place: Path, **options: int) -> Week:
    return Week(place, Namespace(**{"seed": 0, "minutes": 0} | options))


def test_a_week_in_which_nothing_happened_is_wrong(tmp_path: Path) -> None:
    week = a_week(tmp_path, rounds=2, people=3)
    week.old_rows = {}
    week.ledger.said = {"a": said(1, 20)}
    week.ledger.heard.errors = ["refused"]
    week.figures()
    assert [sentence.split(" ")[0] for sentence in week.wrong] == ["1", "a", "only", "0", "0", "0", "restarts:"]


@pytest.mark.nightly
def test_the_first_version_has_the_first_schema_alone(tmp_path: Path) -> None:
    code, _ = first_version(tmp_path / "first")
    assert [path.name for path in (code / "migrations" / "versions").glob("*.py")] == ["2026_11_22_first_tables.py"]


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_short_week_loses_nothing() -> None:
    short = "--rounds 1 --people 5 --minutes 0 --pause-s 1 --updates 2"
    done = subprocess.run([sys.executable, "bench/week.py", *short.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == []
    assert len(told["backups"]) == 2
    assert sum(told["rounds"].values()) == 2, "one of them on the first version"
