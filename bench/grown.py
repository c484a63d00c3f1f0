"""A database that has grown for years, made in seconds by SQL: many labels, many open tasks, one project.

    python bench/grown.py [--labels 1000000] [--prompts 1000000] [--open-tasks 200000] [--data FOLDER] [--only lists|deeds]

How long every list takes there, and how long the verdicts of 32 annotators wait while an admin promotes a policy (20 % of the
waiting tasks are asked anew), imports 50,000 prompts, puts 10,000 away, exports everything and starts a round, up to the frozen
labels. An annotator takes a fifth of a second for a task; none of them is a person.

Every second prompt is answered and asked about, the older half, by two people each. One label in 100,000 has a flag, one a
comment, one was withdrawn, and one pair disagrees in as many: a list that looks for them has the longest way to go. FOLDER is
kept, and used as it is where it was filled before. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __import__("bench")  # says what is not installed, before any of it is asked for

import argparse
import http.client
import json
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select, text

from app.contenders.service import contender_of
from app.database.engine import make_engine, read_session, write_session
from app.database.upgrade import upgrade_to_head
from app.models import Checkpoint, Label, Run, SignInSession, User, utc_now
from app.settings import Settings
from app.web.security import digest, new_secret, session_cookie
from bench.grown_deeds import deeds
from bench.stage import SLUG, Server, fill, say, serving, sqlite_in
from trainer.contract.folder import to_disk
from trainer.contract.messages import Message

PROMPTS: Final = 100
RARE: Final = 100_000  # one label in so many is what a list looks for
ASKED: Final = 3  # times each; the second and third show what it costs while the database is in memory

_NUMBERS: Final = "WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
_TASKS: Final = text(
    _NUMBERS
    + """INSERT INTO tasks (id, project_id, prompt_id, kind, purpose, first_generation_id, second_generation_id, served_reason,
      created_at)
    SELECT n, 1, 1 + n % 100, 'comparison', 'train', 1 + 2 * (n % 100), 2 + 2 * (n % 100), 'random', :now FROM numbers"""
)
_DONE_SEATS: Final = text(
    _NUMBERS
    + """INSERT INTO seats (id, project_id, task_id, number, place, state, annotator_id, swapped, claimed_at)
    SELECT n, 1, n, 1, n, 'done', 1 + n % :annotators, n % 2, :now FROM numbers"""
)
_FREE_SEATS: Final = text(
    _NUMBERS
    + """INSERT INTO seats (project_id, task_id, number, place, state, swapped)
    SELECT 1, n, :number, (SELECT max(id) FROM seats) + n, 'free', 0 FROM numbers"""
)
_LABELS: Final = text(
    _NUMBERS
    + """INSERT INTO labels (id, project_id, task_id, seat_id, annotator_id, version, current, withdrawn, surplus, trains,
      client_id, payload_hash,
      kind, choice, criteria, flags, comment, left_generation_id, right_generation_id, guideline_version, interface_version,
      wall_ms, active_ms, served_reason, created_at)
    SELECT n, 1, n, n, 1 + n % :annotators, 1, 1, 0, 0, 1, printf('%08x-0000-4000-8000-%012x', n, n), printf('%064x', n),
      'comparison', CASE n % 4 WHEN 0 THEN 'tie' WHEN 1 THEN 'both_bad' WHEN 2 THEN 'left' ELSE 'right' END, '{}', '{}', '',
      1 + 2 * (n % 100), 2 + 2 * (n % 100), 1, 'bench', 9000, 6000, 'random', '2026-01-01 00:00:00.000000' FROM numbers"""
)


def fill_grown(data: Path, *, tasks: int, labels: int, annotators: int, overlap: int = 1) -> list[str]:
    """So many open tasks behind so many answered ones; the API keys of the annotators.

    With `overlap` 2 every answered task still has a free seat, which its annotator must be led past.
    """
    keys = fill(data, tasks=PROMPTS, annotators=annotators, rating_share=0.0)
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with write_session(engine) as session:
        session.execute(text("DELETE FROM seats"))
        session.execute(text("DELETE FROM tasks"))
        everything = {"first": 1, "last": labels + tasks, "now": str(utc_now().replace(tzinfo=None))}
        answered = everything | {"last": labels, "annotators": annotators}
        session.execute(_TASKS, everything)
        session.execute(_DONE_SEATS, answered)
        for number in range(2, overlap + 1):
            session.execute(_FREE_SEATS, answered | {"number": number})
        session.execute(_LABELS, answered)
        for number in range(1, overlap + 1):
            session.execute(_FREE_SEATS, everything | {"first": labels + 1, "number": number})
    engine.dispose()
    say(f"{labels} labels, {tasks} open tasks")
    return keys


# How long lists take, and how long annotators wait

_MORE_PROMPTS: Final = text(
    _NUMBERS
    + """INSERT INTO prompts (id, project_id, messages, digest, split, external_id, extra, created_at)
    SELECT n, 1, '[{"role": "user", "content": "Question ' || n || ': what would you advise somebody who asks you about'
      || ' something that happened to them a week ago, and why would you advise it?"}]',
      printf('%064x', 4294967296 + n), CASE n % 5 WHEN 0 THEN 'holdout' ELSE 'train' END, 'q-' || n, '{}', :now FROM numbers"""
)
_MORE_ANSWERS: Final = text(
    _NUMBERS
    + """INSERT INTO generations (id, prompt_id, contender_id, checkpoint_id, run_id, number, settings, seed, text, token_ids,
      finish_reason, created_at)
    SELECT 2 * n - 1 + :number, n, 1, 1, 1, :number, '{}', n, 'An answer.', '[]', 'eos', :now FROM numbers"""
)
# Of tasks that nobody has met, of those that a candidate meets, and what the candidate has written, to prompts of the older half.
_ANSWERS_OF: Final = text(
    _NUMBERS
    + """INSERT INTO generations (prompt_id, contender_id, checkpoint_id, run_id, number, settings, seed, text, token_ids,
      finish_reason, created_at)
    SELECT n, :contender, :checkpoint, :run, :number, '{}', n, 'Answer ' || :number || ' of ' || :run || '.', '[]', 'eos', :now
    FROM numbers WHERE n % 5 <> 0"""
)
# Two labels of a task follow each other; every pair in RARE disagrees.
_PAIRS: Final = text(
    _NUMBERS
    + """INSERT INTO labels (id, project_id, task_id, seat_id, annotator_id, version, current, withdrawn, surplus, trains,
      client_id, payload_hash, kind, choice, strength, criteria, flags, comment, left_generation_id, right_generation_id,
      guideline_version, interface_version, wall_ms, active_ms, served_reason, created_at)
    SELECT n, 1, (n + 1) / 2, n, 1 + n % 2 + 2 * ((n + 1) / 2 % (:annotators / 2)), 1, n % :rare <> 7, n % :rare = 7, 0, 1,
      printf('%08x-0000-4000-8000-%012x', n, n), printf('%064x', n), 'comparison',
      CASE n % :rare WHEN 9 THEN 'tie' ELSE 'left' END, CASE n % :rare WHEN 9 THEN NULL ELSE 1 END, '{"fluency": "left"}',
      CASE n % :rare WHEN 11 THEN '{"left": [], "right": ["untrue"]}' ELSE '{"left": [], "right": []}' END,
      CASE n % :rare WHEN 13 THEN 'Too long.' ELSE '' END, 2 * (1 + (n + 1) / 2 % :prompts) - 1, 2 * (1 + (n + 1) / 2 % :prompts),
      1, 'bench', 9000, 6000, 'random',
      strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ((:last - n) / 2000.0) || ' hours') FROM numbers"""
)
# Label 9 of so many says something else than label 10.
_DISPUTED: Final = text(
    _NUMBERS.replace(":first", "0").replace(":last", ":last / :rare - 1")
    + "UPDATE tasks SET disputed = true WHERE id IN (SELECT (n * :rare + 9 + 1) / 2 FROM numbers)"
)
_SEATS_OF_PAIRS: Final = text(
    _NUMBERS
    + """INSERT INTO seats (id, project_id, task_id, number, place, state, annotator_id, swapped, claimed_at)
    SELECT n, 1, (n + 1) / 2, 1 + (n + 1) % 2, n, 'done', 1 + n % 2 + 2 * ((n + 1) / 2 % (:annotators / 2)), 0, :now
    FROM numbers"""
)
_TASKS_OF_PROMPTS: Final = text(
    _NUMBERS
    + """INSERT INTO tasks (id, project_id, prompt_id, kind, purpose, first_generation_id, second_generation_id, served_reason,
      created_at)
    SELECT n, 1, 1 + n % :prompts, 'comparison', 'train', 2 * (1 + n % :prompts) - 1, 2 * (1 + n % :prompts), 'random', :now
    FROM numbers"""
)
_OPEN_TASKS: Final = text(
    """INSERT INTO tasks (project_id, prompt_id, kind, purpose, first_generation_id, second_generation_id, served_reason,
      created_at)
    SELECT 1, a.prompt_id, 'comparison', 'train', a.id, b.id, 'random', :now
    FROM generations a JOIN generations b ON b.prompt_id = a.prompt_id AND b.run_id = 2 AND b.number = 1
    WHERE a.run_id = 2 AND a.number = 0 ORDER BY a.id"""
)
_SEATS_OF_OPEN: Final = text(
    """INSERT INTO seats (project_id, task_id, number, place, state, swapped)
    SELECT 1, id, 1, (SELECT max(id) FROM seats) + id, 'free', 0 FROM tasks WHERE id > :last ORDER BY id"""
)


def fill_lists(data: Path, *, labels: int, prompts: int, open_tasks: int, annotators: int = 32) -> None:
    """A project of so many labels, prompts and open tasks, and a policy that waits for its promotion; the texts are short.

    Keys of its annotators stand in `keys.txt`. The policy that waits has answered twice the prompts of a tenth of the open tasks,
    and to each of those the policy in force has one answer that nobody was asked about.
    """
    keys = fill(data, tasks=PROMPTS, annotators=annotators, rating_share=0.0)
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with write_session(engine) as session:
        now = str(utc_now().replace(tzinfo=None))
        first = (session.scalar(text("SELECT max(id) FROM prompts")) or 0) + 1
        session.execute(text("DELETE FROM seats"))
        session.execute(text("DELETE FROM tasks"))
        session.execute(_MORE_PROMPTS, {"first": first, "last": prompts, "now": now})
        for number in range(2):
            session.execute(_MORE_ANSWERS, {"first": first, "last": prompts // 2, "number": number, "now": now})
        session.execute(_TASKS_OF_PROMPTS, {"first": 1, "last": labels // 2, "prompts": prompts // 2, "now": now})
        pairs = {"first": 1, "last": labels, "annotators": annotators}
        session.execute(_SEATS_OF_PAIRS, pairs | {"now": now})
        session.execute(_PAIRS, pairs | {"rare": RARE, "prompts": prompts // 2})
        session.execute(_DISPUTED, {"last": labels, "rare": RARE})
        candidate = Checkpoint(project_id=1, kind="policy", name=Message("base_model"), source="none", parent_id=1)
        session.add_all([candidate, *(Run(project_id=1, kind="sample", state="done", config={}) for _ in range(3))])
        session.flush()
        contenders = {one: contender_of(session, session.get_one(Checkpoint, one)).id for one in (1, candidate.id)}
        asked = open_tasks * 5 // 4  # every fifth prompt is held out
        for checkpoint, run, number, upto in (
            *((1, 2, number, asked) for number in range(2)),
            (1, 3, 0, asked // 10),
            *((candidate.id, 4, number, asked // 10) for number in range(2)),
        ):
            values = {"contender": contenders[checkpoint], "checkpoint": checkpoint, "run": run, "number": number, "now": now}
            session.execute(_ANSWERS_OF, {"first": 1, "last": upto} | values)
        session.execute(_OPEN_TASKS, {"now": now})
        session.execute(_SEATS_OF_OPEN, {"last": labels // 2})
    engine.dispose()
    (data / "keys.txt").write_text("\n".join(keys))
    say(f"{labels} labels, {prompts} prompts, {open_tasks} open tasks")


_LABELS_BY: Final = (
    "",
    "flag=untrue",
    "flag=hateful",
    "text=question+4321",
    "text=nowhere",
    "prompt=77",
    "annotator=1",
    "kind=rating",
)
LISTS: Final = (
    "",
    *(f"/labels?{words}" for words in (*_LABELS_BY, "only=commented", "only=disputed", "only=withdrawn", "verdict=tie")),
    *(f"/labels?{words}" for words in ("verdict=3", "from=2099-01-01", "to=2001-01-01", "from=2001-01-01&only=disputed")),
    "/labels?annotator=1&only=disputed",
    *(
        f"/prompts?{words}"
        for words in ("", "text=question+4321", "text=nowhere", "text=user", "split=holdout", "external_id=q-4321")
    ),
    *(f"/prompts?work={words}" for words in ("answered", "unanswered", "labelled", "unlabelled")),
    "/prompts?archived=1",
    "/prompts?archived=1&text=nowhere",
    *("/export", "/people", "/audit", "/work", "/guidelines", "/rounds", "/rounds/new", "/checkpoints", "/sft", "/settings"),
    *("/settings/questions", "/settings/practice", "/settings/removal", "/annotate"),
    *(f"/api/labels?{words}" for words in (*_LABELS_BY, "commented=true", "disputed=true", "withdrawn=true", "history=true")),
    *(f"/api/labels?{words}" for words in ("choice=tie", "since=2099-01-01T00:00:00Z", "until=2001-01-01T00:00:00Z")),
    *(f"/api/prompts?{words}" for words in ("", "split=holdout", "text=question+4321", "text=nowhere")),
    *(f"/api/prompts?work={words}" for words in ("answered", "unanswered", "labelled", "unlabelled")),
    *("/api/generations", "/api/generations?split=holdout", "/api/runs", "/api/rounds", "/api/checkpoints", "/api/next-round"),
    *("/api/audit", "/api/people", "/api/work", "/api/waiting"),
)


def address(name: str) -> str:
    api = name.startswith("/api/")
    return f"/api/v1/projects/{SLUG}/{name[5:]}" if api else f"/projects/{SLUG}{name}"


def sign_in(data: Path) -> str:
    """The cookie of an owner's browser."""
    secret = new_secret()
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with write_session(engine) as session:
        owner = session.scalar(select(User).where(User.is_owner)) or User(email="owner@example.org", name="Owner", is_owner=True)
        session.add(owner)
        session.flush()
        session.add(SignInSession(id_hash=digest(secret), user_id=owner.id, expires_at=utc_now() + timedelta(days=1)))
    engine.dispose()
    return f"{session_cookie(Settings())}={secret}"


def times_of(server: Server, cookie: str) -> dict[str, tuple[float, float]]:
    """Of each list the median of seconds to the last byte, and the server's own processor seconds, which neighbours bend less.

    Raises RuntimeError where there is no such page.
    """
    found: dict[str, tuple[float, float]] = {}
    for name in LISTS:
        times_s, cpu_s = [], server.cpu_s()
        for _again in range(ASKED):
            began = time.perf_counter()
            browser = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
            browser.request("GET", address(name), headers={"Cookie": cookie})
            reply = browser.getresponse()
            reply.read()
            browser.close()
            if reply.status != 200:
                raise RuntimeError(f"{address(name)} answered {reply.status}")
            times_s.append(time.perf_counter() - began)
        found[name] = sorted(times_s)[ASKED // 2], (server.cpu_s() - cpu_s) / ASKED
        say(f"{found[name][0] * 1000:8.0f} ms, processor {found[name][1] * 1000:6.0f} ms  {name or 'overview'}")
    return found


def _there_are(data: Path) -> int:
    if not (data / "tastemaker.db").exists():
        return 0
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with read_session(engine) as session:
        return session.scalar(select(func.max(Label.id))) or 0


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--labels", type=int, default=1_000_000)
    options.add_argument("--prompts", type=int, default=1_000_000)
    options.add_argument("--open-tasks", type=int, default=200_000)
    options.add_argument("--data", type=Path, help="where the database is, or is to be; by default made and thrown away")
    options.add_argument("--only", choices=("lists", "deeds"), help="one half alone")
    chosen = options.parse_args()
    result = {
        "bench": "grown",
        "load": round(os.getloadavg()[0], 1),
        "labels": chosen.labels,
        "prompts": chosen.prompts,
        "open_tasks": chosen.open_tasks,
    }
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        kept = chosen.data or Path(folder) / "kept"
        if _there_are(kept) != chosen.labels:
            fill_lists(kept, labels=chosen.labels, prompts=chosen.prompts, open_tasks=chosen.open_tasks)
        upgrade_to_head(sqlite_in(kept))
        if chosen.only != "deeds":
            cookie = sign_in(kept)
            with serving(kept) as server:
                result |= _summary(times_of(server, cookie))
        if chosen.only != "lists":
            data = Path(folder) / "copy"  # what is done there is not there the next time
            data.mkdir()
            to_disk(Path(shutil.copy(kept / "tastemaker.db", data)))  # else the first checkpoint waits for all of it
            with serving(data) as server:
                result["longest_wait_of_a_verdict"] = deeds(data, server, (kept / "keys.txt").read_text().split())
    print(json.dumps(result))


def _summary(found: dict[str, tuple[float, float]]) -> dict[str, Any]:
    slowest = sorted(found, key=lambda name: -found[name][1])[:8]
    return {
        "lists": len(found),
        "over_1_s": sum(time_s > 1 for time_s, _cpu_s in found.values()),
        "over_1_s_of_processor": sum(cpu_s > 1 for _time_s, cpu_s in found.values()),
        "slowest_ms": {name or "overview": [round(1000 * part) for part in found[name]] for name in slowest},
    }


if __name__ == "__main__":
    main()
