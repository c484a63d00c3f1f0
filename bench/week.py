"""A week in an hour: an installation of the first schema is upgraded, and people label through rounds, restarts and backups.

    python bench/week.py [--rounds 12] [--people 20] [--minutes 48] [--pause-s 5] [--updates 6] [--data FOLDER]

The program of the last commit with the first schema is taken out of git; people label there, and a round is decided. Today's
program goes on with its data folder: while the people work, rounds run one after the other, web and worker are stopped or killed
and started again, and `tastemaker backup` makes copies, each of which is put in place elsewhere and served. In the end everything
is exported, backed up, restored in a new folder on another port, with the old folder gone, and exported again.

Everything that people send is written down before it is sent. The exit status is 1, and stderr says why, unless every verdict
that was acknowledged is there once and as it was said, in the end and in each copy made since; the exports before and after are
the same bytes; every round got its decision; nothing was answered by a 5xx outside of a restart; and enough was done to say so.
One JSON line last.
"""

from __future__ import annotations

import os.path
import sys

sys.path.pop(0)  # this folder, where queue.py would hide the library's `queue`
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if __name__ == "__main__":
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import json
import random
import statistics
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench import week_limits as limits
from bench.crash_cluster import inspect
from bench.installation import SLUG, Installation, first_version, patiently, say, simple_model
from bench.week_checks import ROWS, Memory, exports, lists, restore, rows_of, sizes_mb, unsound
from bench.week_limits import MONDAY
from bench.week_people import Ledger, at_work, judgement_of

RESTARTS = (("web", "stop"), ("worker", "kill"), ("web", "kill"), ("worker", "stop"))
PAUSE_S = (2.0, 6.0)  # between two blows
DECIDES_AFTER_S = 5.0  # a candidate waits for its decision
PATIENCE_S = 900.0
SETTINGS = {"rating_share": 0.25, "overlap": 2, "queue_low_mark": 150, "sampling": {"per_prompt": 4, "max_new_tokens": 32}}
ENDED = frozenset({"decision", "done", "refused", "failed", "cancelled"})


class Week:
    """The installation, its people, and what was found wrong."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self.place = place
        self.options = options
        self.draw = random.Random(options.seed)
        self.ledger = Ledger()
        self.wrong: list[str] = []
        self.windows: list[tuple[float, float]] = []  # while no web process answered
        self.restarts: Counter[str] = Counter()
        self.copies: list[dict[str, Any]] = []
        self.rows_of_copies: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.tried = 0  # backups
        self.went_back = 0  # to the base model
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        say(f"{time.monotonic() - self.began:6.0f} s  {text}")

    def note(self, wrong: list[str], of: str = "") -> None:
        """What does not hold."""
        for sentence in wrong:
            self.wrong.append(f"{of}{sentence}")
            self.say(f"WRONG: {self.wrong[-1]}")

    # Monday: the first version

    def monday(self) -> None:
        """An installation of the first version with people, labels of every kind, and a round that was decided."""
        code, self.commit = first_version(self.place / "first")
        self.model = simple_model(self.place, code)
        house = Installation(self.place / "house", self.model, code=code)
        try:
            house.start_web()
            house.sign_in()
            self.base: int = house.send("PATCH", f"/projects/{SLUG}", json=SETTINGS)["policy_id"]
            sampled = house.sample(self.base, "all", seed=1)
            house.start_worker()
            run = house.wait(f"/runs/{sampled}", frozenset({"done", "failed", "cancelled"}), PATIENCE_S)
            self.note(limits.of_run(run, "the first version's sample run"))
            self.judgement = judgement_of(house)
            self.keys = house.annotators(self.options.people)
            self.say(f"the first version is up; {self.options.people} people begin")
            with self._people(house, withdraw=False):
                self._wait_for_labels(MONDAY)
                self._round(house, promote=True)
            self.old_rows = rows_of(exports(house)[ROWS])
            self.key = house.key
        finally:
            house.stop()

    def _wait_for_labels(self, wanted: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.ledger.heard.acknowledged) < wanted:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {wanted} labels: {self.ledger.heard.errors[:3]}")
            time.sleep(0.5)

    @contextmanager
    def _people(self, house: Installation, *, withdraw: bool) -> Iterator[None]:
        given = self.judgement, self.ledger, self.options.pause_s, self.options.seed
        with at_work(house.url, self.keys, *given, withdraw=withdraw):
            yield

    # The week

    def upgrade(self) -> Installation:
        """Today's program on the data folder of the first."""
        house = Installation(self.place / "house", self.model)
        house.key = self.key
        self.house = house
        house.start_web()
        new = exports(house)
        self.note(limits.of_old(self.old_rows, rows_of(new[ROWS]), "the upgrade"))
        self.note(limits.of_upgrade(list(house.data.glob("tastemaker.db.before-upgrade-from-*"))))
        house.start_worker()
        self.say(f"upgraded from {self.commit}, {len(self.old_rows)} verdicts")
        return house

    def rounds(self) -> None:
        house, options = self.house, self.options
        began = time.monotonic()
        with self._people(house, withdraw=True):
            for number in range(options.rounds):
                while time.monotonic() < began + number * options.minutes * 60 / options.rounds:
                    time.sleep(1)
                restarted = number < max(1, options.rounds * 2 // 3)  # the last processes live on, to be weighed
                half = RESTARTS[number % 2 * 2 :][:2] if options.rounds > 1 else RESTARTS
                copies = [("backup", "")] * _copies_a_round(options.rounds)
                self._round(house, number % 2 == 0, [*(half if restarted else ()), *copies])
                per_round_s = max((time.monotonic() - began) / (number + 1), options.minutes * 60 / options.rounds)
                left = (options.rounds - number - 1) * per_round_s / 60
                self.say(
                    f"round {number + 1}/{options.rounds}: {self.ends[-1]}; {len(self.ledger.heard.acknowledged)} verdicts, "
                    f"{len(self.ledger.heard.errors)} errors, about {left:.0f} min left"
                )

    def _round(self, house: Installation, promote: bool, blows: list[tuple[str, str]] | None = None) -> None:
        """One round to its decision, with blows while it computes."""
        left = list(blows or ())
        self.draw.shuffle(left)
        config = {"reward": {"method": "head"}, "ppo": {"updates": self.options.updates}}
        started = patiently(lambda: house.send("POST", f"/projects/{SLUG}/rounds", json={"config": config}))
        path = f"/rounds/{started['id']}"
        deadline = time.monotonic() + PATIENCE_S
        while (found := patiently(lambda: house.send("GET", path)))["state"] not in ENDED or left:
            if left:
                time.sleep(self.draw.uniform(*PAUSE_S))
                self._deal(*left.pop())
            if time.monotonic() > deadline:
                raise RuntimeError(f"round {started['id']} is still at {found['state']}")
            for name in house.ended_by_themselves():
                raise RuntimeError(f"the {name} process ended by itself; see {house.log}")
            time.sleep(0.5)
        end = found["state"]
        if end == "decision":
            time.sleep(DECIDES_AFTER_S)
            end = self._decide(house, found["candidate_id"] if promote else None, path)
        self.ends.append(end)
        self.note(limits.of_round(found, end))

    def _decide(self, house: Installation, candidate: int | None, path: str) -> str:
        """Promote it, or reject what the round made. Every other time the base model is made the policy again after that."""
        if candidate is not None:
            _promote(house, candidate)
            return "promoted"
        patiently(lambda: house.send("POST", f"{path}/reject", json={"reason": "not better"}))
        if self.ends.count("rejected") % 2 == 0 and house.send("GET", f"/projects/{SLUG}")["policy_id"] != self.base:
            _promote(house, self.base)
            self.went_back += 1
        return "rejected"

    def _deal(self, what: str, way: str) -> None:
        if what == "backup":
            self._back_up()
            return
        began = time.monotonic()
        getattr(self.house, f"{way}_{what}")()
        getattr(self.house, f"start_{what}")()
        if what == "web":
            self.windows.append((began, time.monotonic()))
        self.restarts[f"{what} {way}"] += 1

    def _back_up(self) -> None:
        """A copy while people work; put in place elsewhere, served, exported, and compared with what was sent until then."""
        self.tried += 1
        try:
            self._copy_and_serve(self.tried)
        except (RuntimeError, ValueError, httpx.HTTPError) as error:
            self.note([str(error)], f"backup {self.tried}: ")

    def _copy_and_serve(self, number: int) -> None:
        copy = self.place / f"backup-{number}.db"
        began = time.monotonic()
        self.house.run("backup", str(copy))
        ended = time.monotonic()
        self.note(unsound(copy), f"backup {number}: ")
        restored = restore(copy, self.place / f"restored-{number}", self.house, self.model)
        try:
            told = exports(restored)
        finally:
            restored.stop()
        rows = rows_of(told[ROWS])
        self.note(limits.of_copy(told, self.ledger, began, ended), f"backup {number}: ")
        self.rows_of_copies.append(rows)
        figures = {"mb": round(copy.stat().st_size / 1e6, 1), "s": round(ended - began, 2), "verdicts": len(rows)}
        self.copies.append(figures)
        copy.unlink()
        self.say(f"  backup {number}: {figures}")

    # Sunday: everything again elsewhere

    def sunday(self) -> dict[str, Any]:
        """Exports and lists, a backup, all that was there gone, a restore in a new place; exports and lists. It goes on there."""
        house = self.house
        house.stop_worker()
        before = exports(house) | lists(house)
        sizes = sizes_mb(house.data)
        printed = house.run("export", SLUG, "--format", "labels")
        copy = self.place / "last.db"
        house.run("backup", str(copy))
        told = inspect(f"sqlite:///{house.data / 'tastemaker.db'}", self.ledger.heard, 0)
        self.note(unsound(house.data / "tastemaker.db"), "the database is not whole: ")
        house.stop()
        self.note(limits.of_stop(house.data))
        gone = house.data.rename(house.data.with_name("gone"))
        restored = restore(copy, self.place / "elsewhere", house, self.model, gone / "runs")
        try:
            after = exports(restored) | lists(restored)
            self.note(limits.of_end(before, after, printed, told))
            self._goes_on(restored)
        finally:
            restored.stop()
        rows = rows_of(before[ROWS])
        self.note(limits.of_old(self.old_rows, rows, "the week"))
        self.note(limits.of_verdicts(rows, self.rows_of_copies, self.ledger))
        exported = {name: len(found) for name, found in before.items()}
        return {"database": told, "exported": exported, "sizes_mb": sizes}

    def _goes_on(self, house: Installation) -> None:
        """A verdict is taken and a model answers, from what lies in the new place alone."""
        given = len(self.ledger.heard.acknowledged)
        acknowledged = dict(self.ledger.heard.acknowledged)
        house.start_worker()
        policy = house.send("GET", f"/projects/{SLUG}")["policy_id"]
        run = house.wait(f"/runs/{house.sample(policy, 'holdout', per_prompt=1)}", ENDED, PATIENCE_S)
        self.note(limits.of_run(run, "in the new place a sample run"))
        with self._people(house, withdraw=True):
            self._wait_for_labels(given + 3)
        self.ledger.heard.acknowledged = acknowledged  # the week's own

    def figures(self) -> dict[str, Any]:
        heard, rounds = self.ledger.heard, self.options.rounds
        waits = [one.answered_at - one.sent_at for one in self.ledger.said.values() if one.answered_at is not None]
        quiet = limits.undisturbed_s(self.ledger, self.windows)
        done = limits.Done(
            rounds=rounds,
            people=self.options.people,
            copies=rounds * _copies_a_round(rounds),
            kinds_of_restarts=min(len(RESTARTS), 2 * max(1, rounds * 2 // 3) if rounds > 1 else 4),
            ends=self.ends,
            copied=len(self.copies),
            judges={row["annotator"] for rows in self.rows_of_copies[-1:] for row in rows.values()},
            restarts=self.restarts,
            verdicts=len(heard.acknowledged),
        )
        self.note(limits.of_waits(self.ledger, self.windows))
        self.note(limits.of_work(done))
        return {
            "people": self.options.people,
            "rounds": dict(Counter(self.ends)),
            "back_to_the_base": self.went_back,
            "verdicts": len(heard.acknowledged),
            "of_the_first_version": len(self.old_rows),
            "corrections_and_withdrawals": sum(row["version"] > 1 for rows in self.rows_of_copies[-1:] for row in rows.values()),
            "asked_in_vain": round(self.ledger.empty / max(1, self.ledger.claims), 3),
            "restarts": dict(self.restarts),
            "away_s": [round(end - start, 1) for start, end in self.windows],
            "sent_again": len(heard.troubles),
            "longest_wait_s": round(max(waits), 2),
            "longest_wait_undisturbed_s": round(max(quiet), 2),
            "median_wait_ms": round(statistics.median(quiet) * 1000, 1),
            "backups": self.copies,
        }


def _promote(house: Installation, checkpoint: int) -> None:
    patiently(lambda: house.send("POST", f"/checkpoints/{checkpoint}/promote", json={"confirm": True}))


def _copies_a_round(rounds: int) -> int:
    return 1 if rounds > 1 else 2


def live(place: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The whole week; its figures, and what was wrong."""
    week = Week(place, options)
    week.monday()
    memory: dict[str, Any] = {}
    try:
        house = week.upgrade()
        watched = Memory(house)
        week.rounds()
        memory = watched.figures()
        told = week.sunday()
    finally:
        week.house.stop()
    week.note(limits.of_memory(memory, options.minutes))
    return {
        "bench": "week",
        **week.figures(),
        **told,
        "memory": memory,
        "seconds": round(time.monotonic() - week.began),
    }, week.wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=48.0, help="over which the rounds are spread; 0: one after the other")
    parser.add_argument("--pause-s", type=float, default=5.0, help="between two verdicts of one person, on average")
    parser.add_argument("--updates", type=int, default=6, help="of PPO, in each round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="keep everything in this folder, which must be new")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-week-") as folder:
        place = options.data or Path(folder)
        place.mkdir(parents=True, exist_ok=options.data is None)
        try:
            figures, wrong = live(place.resolve(), options)
        except Exception as error:
            traceback.print_exc()
            figures, wrong = {"bench": "week"}, [f"{type(error).__name__}: {error}"]
    print(json.dumps(figures | {"wrong": wrong}), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
