"""A database that has grown for years, made in seconds by SQL: many labels, many open tasks, one project.

Tasks share the answers of a hundred prompts; nothing here looks at the texts. The labels are the annotators' own, in turn.

    python bench/grown.py [--labels 1000000] [--prompts 1000000] [--data FOLDER]    # how long every list takes there

There every second prompt is answered and asked about, the older half, by two people each. One label in 100,000 has a flag, one a
comment, one was withdrawn, and one pair disagrees in as many: a list that looks for them has the longest way to go. FOLDER is
kept, and used as it is where it was filled before. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import os.path
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import http.client
import json
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func, select, text

from app.database.engine import make_engine, read_session, write_session
from app.models import Label, SignInSession, User, utc_now
from app.settings import Settings
from app.web.security import digest, new_secret, session_cookie
from bench.stage import SLUG, Server, fill, say, serving

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
    + """INSERT INTO seats (id, project_id, task_id, number, state, annotator_id, swapped, claimed_at)
    SELECT n, 1, n, 1, 'done', 1 + n % :annotators, n % 2, :now FROM numbers"""
)
_FREE_SEATS: Final = text(
    _NUMBERS
    + """INSERT INTO seats (project_id, task_id, number, state, swapped)
    SELECT 1, n, :number, 'free', 0 FROM numbers"""
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


# How long lists take

_MORE_PROMPTS: Final = text(
    _NUMBERS
    + """INSERT INTO prompts (id, project_id, messages, digest, split, external_id, extra, created_at)
    SELECT n, 1, '[{"role": "user", "content": "Question ' || n || ': what would you advise somebody who asks you about'
      || ' something that happened to them a week ago, and why would you advise it?"}]',
      printf('%064x', 4294967296 + n), CASE n % 5 WHEN 0 THEN 'holdout' ELSE 'train' END, 'q-' || n, '{}', :now FROM numbers"""
)
_MORE_ANSWERS: Final = text(
    _NUMBERS
    + """INSERT INTO generations (prompt_id, checkpoint_id, run_id, number, settings, seed, text, token_ids, finish_reason,
      created_at)
    SELECT n, 1, 1, :number, '{}', n, 'An answer.', '[]', 'eos', :now FROM numbers"""
)
# Two labels of a task follow each other; every pair in RARE disagrees.
_PAIRS: Final = text(
    _NUMBERS
    + """INSERT INTO labels (id, project_id, task_id, annotator_id, version, current, withdrawn, surplus, client_id,
      payload_hash, kind, choice, strength, criteria, flags, comment, left_generation_id, right_generation_id,
      guideline_version, interface_version, wall_ms, active_ms, served_reason, created_at)
    SELECT n, 1, (n + 1) / 2, 1 + n % 2 + 2 * ((n + 1) / 2 % (:annotators / 2)), 1, n % :rare <> 7, n % :rare = 7, 0, 1,
      printf('%08x-0000-4000-8000-%012x', n, n), printf('%064x', n), 'comparison',
      CASE n % :rare WHEN 9 THEN 'tie' ELSE 'left' END, CASE n % :rare WHEN 9 THEN NULL ELSE 1 END, '{"fluency": "left"}',
      CASE n % :rare WHEN 11 THEN '{"left": [], "right": ["untrue"]}' ELSE '{"left": [], "right": []}' END,
      CASE n % :rare WHEN 13 THEN 'Too long.' ELSE '' END, 1 + 2 * ((n + 1) / 2 % 100), 2 + 2 * ((n + 1) / 2 % 100), 1, 'bench',
      9000, 6000, 'random',
      strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ((:last - n) / 2000.0) || ' hours') FROM numbers"""
)


def fill_lists(data: Path, *, labels: int, prompts: int, annotators: int = 20) -> None:
    """A project of so many labels and prompts for its lists to look through; nothing but two hundred answers is of a size."""
    fill(data, tasks=PROMPTS, annotators=annotators, rating_share=0.0)
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
        session.execute(_PAIRS, {"first": 1, "last": labels, "annotators": annotators, "rare": RARE})
    engine.dispose()
    say(f"{labels} labels, {prompts} prompts")


_TASKS_OF_PROMPTS: Final = text(
    _NUMBERS
    + """INSERT INTO tasks (id, project_id, prompt_id, kind, purpose, first_generation_id, second_generation_id, served_reason,
      created_at)
    SELECT n, 1, 1 + n % :prompts, 'comparison', 'train', 1 + 2 * (n % 100), 2 + 2 * (n % 100), 'random', :now FROM numbers"""
)

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
    options.add_argument("--data", type=Path, help="where the database is, or is to be; by default made and thrown away")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder:
        data = chosen.data or Path(folder)
        if _there_are(data) != chosen.labels:
            fill_lists(data, labels=chosen.labels, prompts=chosen.prompts)
        cookie = sign_in(data)
        with serving(data) as server:
            found = times_of(server, cookie)
    slowest = sorted(found, key=lambda name: -found[name][0])[:5]
    print(
        json.dumps(
            {
                "bench": "grown",
                "load": round(os.getloadavg()[0], 1),
                "labels": chosen.labels,
                "prompts": chosen.prompts,
                "lists": len(found),
                "over_1_s": sum(time_s > 1 for time_s, _cpu_s in found.values()),
                "over_1_s_of_processor": sum(cpu_s > 1 for _time_s, cpu_s in found.values()),
                "slowest_ms": {name or "overview": [round(1000 * part) for part in found[name]] for name in slowest},
            }
        )
    )


if __name__ == "__main__":
    main()
