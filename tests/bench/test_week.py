from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from bench.installation import ROOT, first_version
from bench.week import Week
from bench.week_checks import changed, differences, misquoted, not_of_its_moment, rows_of, unlike
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


def test_a_week_in_which_nothing_happened_is_wrong(tmp_path: Path) -> None:
    week = Week(tmp_path, Namespace(seed=0, rounds=2, people=3))
    week.old_rows = {}
    week.ledger.said = {"a": said(1, 2)}
    week.figures()
    assert {sentence.split(" ")[0] for sentence in week.wrong} == {"only", "0", "restarts:"}
    assert len(week.wrong) == 5


def test_a_failure_while_the_web_process_was_away_is_none_of_its_own(tmp_path: Path) -> None:
    week = Week(tmp_path, Namespace(seed=0, rounds=1, people=1))
    week.old_rows = {}
    week.ledger.said = {"a": said(1, 2)}
    week.windows = [(10.0, 12.0)]
    week.ledger.heard.troubles = [(11.0, 0), (12.5, 503)]
    week.figures()
    assert not any("failures" in sentence for sentence in week.wrong)
    week.ledger.heard.troubles.append((15.0, 503))
    week.figures()
    assert any(sentence.startswith("1 failures outside of restarts") for sentence in week.wrong)


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
