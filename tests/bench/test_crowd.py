"""Which limits of a crowd are said to be broken: of figures made by hand, of a server and of a database with one thing wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select

from app.database.engine import make_engine, sqlite_module, write_session
from app.models import Project, Seat, Task, User
from bench.crowd import LEAST_PER_S, LONGEST_ATTEMPT_S, Person, Seen, broken, come, figures
from bench.installation import ROOT
from bench.stage import Record, fill, inspect, sqlite_in
from tests.app.exports.judging import judge

WHOLE = {"labels_in_db": 9, "lost": 0, "doubled": 0, "over_limit": 0, "wrong_seat_counts": 0}


def a_good_crowd() -> Seen:
    seen = Seen(served_s={"list": [0.1] * 100}, until_served_s={"list": [0.1] * 99 + [7.0]}, refused_s=[0.2])
    seen.verdicts.acknowledged["a"] = 1
    return seen


def told(seen: Seen, database: dict[str, int] = WHOLE, *, only_read: bool = False) -> list[str]:
    return broken({"50": figures(seen, 1.0)}, database, 1.0, only_read=only_read)


def test_a_good_crowd_breaks_none_however_often_somebody_came_back() -> None:
    assert told(a_good_crowd()) == []


def test_both_waits_are_told_and_a_refusal_is_an_attempt() -> None:
    seen = a_good_crowd()
    seen.refused_s = [1.5]
    found = figures(seen, 1.0)
    assert (found["attempt"]["longest_s"], found["until_served"]["longest_s"]) == (1.5, 7.0)
    assert (found["attempt"]["p50_ms"], found["until_served"]["p95_ms"]) == (100.0, 100.0)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"served_s": {"list": [0.1] * 99 + [2.1]}}, "an attempt waited 2.1 s"),
        ({"refused_s": [2.5]}, "an attempt waited 2.5 s"),
        ({"without_retry_after": 1}, "1 refusals without Retry-After"),
        ({"failed": {"page: 500": 1}}, "failed: {'page: 500': 1}"),
        ({"served_s": {"list": [0.1] * int(LEAST_PER_S - 1)}}, "fewer than 40"),
        ({"verdicts": Record()}, "nobody got a verdict in"),
    ],
)
def test_each_limit_says_so(what: dict[str, Any], words: str) -> None:
    seen = a_good_crowd()
    for name, value in what.items():
        setattr(seen, name, value)
    (line,) = told(seen)
    assert words in line


def test_whoever_only_reads_sends_no_verdict() -> None:
    seen = a_good_crowd()
    seen.verdicts = Record()
    assert told(seen, only_read=True) == []


@pytest.mark.parametrize("name", ["lost", "doubled", "over_limit", "wrong_seat_counts"])
def test_what_the_database_says_counts_too(name: str) -> None:
    assert told(a_good_crowd(), {**WHOLE, name: 2}) == [f"2 {name}"]


# A crowd at a server with one thing wrong

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
WHERE = {"page": "/projects/{slug}/labels", "list": "/api/v1/projects/{slug}/labels"}
WHERE |= {"claim": "/api/v1/projects/{slug}/tasks/next", "verdict": "/api/v1/tasks/{task}/label"}


async def _page(request: web.Request) -> web.StreamResponse:
    return web.Response(text="labels", content_type="text/html")


async def _list(request: web.Request) -> web.StreamResponse:
    return web.json_response({"items": []})


async def _claim(request: web.Request) -> web.StreamResponse:
    return web.json_response({"id": 7, "kind": "comparison"})


async def _verdict(request: web.Request) -> web.StreamResponse:
    return web.json_response({}, status=201)


SERVED: dict[str, Answer] = {"page": _page, "list": _list, "claim": _claim, "verdict": _verdict}


def crowd_at(wrong: dict[str, Answer], seconds: float = 0.3) -> list[str]:
    """What the bench says of a server that answers well but for this."""

    async def visit() -> Seen:
        server = web.Application()
        for what, answer in (SERVED | wrong).items():
            server.router.add_route("GET" if what in ("page", "list") else "POST", WHERE[what], answer)
        runner = web.AppRunner(server)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return await come(f"http://127.0.0.1:{runner.addresses[0][1]}", [Person("k", "c"), Person("l", "d")], seconds)
        finally:
            await runner.cleanup()

    return broken({"2": figures(asyncio.run(visit()), seconds)}, WHOLE, seconds)


def answering(status: int, wait_s: float = 0.0, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(wait_s)
        return web.json_response({}, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def once(first: Answer, then: Answer, times: int = 1) -> Answer:
    left = [first] * times

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop() if left else then)(request)

    return answer


def test_a_server_that_answers_well_breaks_no_limit_and_may_refuse() -> None:
    assert crowd_at({}) == []
    assert crowd_at({what: once(answering(503, Retry_After="0"), SERVED[what]) for what in SERVED}) == []


@pytest.mark.parametrize("what", ["page", "verdict"])
def test_a_refusal_that_says_not_when_to_come_back_is_wrong(what: str) -> None:
    assert crowd_at({what: once(answering(503), SERVED[what])}, 0.7) == ["2: 1 refusals without Retry-After"]


@pytest.mark.parametrize(
    ("what", "answer", "words"),
    [
        ("page", answering(500), "500"),
        ("list", answering(429), "429"),
        ("claim", answering(409), "409"),
        ("claim", answering(204), "204"),  # the queue ran empty
        ("verdict", answering(500), "500"),
        ("list", _hang_up, "ServerDisconnected"),
        ("verdict", _hang_up, "ServerDisconnected"),
    ],
)
def test_whatever_fails_is_wrong(what: str, answer: Answer, words: str) -> None:
    times = 4 if (what, answer) == ("list", _hang_up) else 1  # a GET that was hung up on is asked once more, unseen
    (line,) = crowd_at({what: once(answer, SERVED[what], times)}, 0.7)
    assert line.startswith("2: failed: ")
    assert f"'{what}: {words}" in line


def test_a_server_that_lets_somebody_wait_is_wrong() -> None:
    (line,) = crowd_at({"list": once(answering(200, LONGEST_ATTEMPT_S + 0.1), _list)})
    assert line.startswith("2: an attempt waited 2.1")


def test_a_refusal_that_comes_late_is_wrong() -> None:
    (line,) = crowd_at({"list": once(answering(503, LONGEST_ATTEMPT_S + 0.1, Retry_After="0"), _list)})
    assert line.startswith("2: an attempt waited 2.1")


def test_a_slow_server_is_wrong() -> None:
    (line,) = crowd_at({what: answering(200, 0.2) for what in ("page", "list")}, 1.0)
    assert line.endswith("requests served, fewer than 40")


def test_a_server_that_takes_no_verdict_is_wrong() -> None:
    wrong = crowd_at({"claim": answering(503, Retry_After="0")})
    assert wrong[-1] == "2: nobody got a verdict in"


# A database with one thing wrong


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Two tasks with a verdict each, and two without."""
    fill(tmp_path, tasks=3, annotators=2, rating_share=0.0)
    engine = make_engine(sqlite_in(tmp_path))
    with write_session(engine) as session:
        person = session.scalars(select(User.id)).first()
        assert person is not None
        for number, task in enumerate(session.scalars(select(Task).order_by(Task.id)).all()[:2], 1):
            seat = session.scalars(select(Seat).where(Seat.task_id == task.id)).one()
            seat.state, seat.annotator_id = "done", person
            project = session.get_one(Project, task.project_id)
            judge(session, project, person, task, choice="left", seat_id=seat.id).client_id = f"said-{number}"
    engine.dispose()
    return tmp_path


def loosened(house: Path, *statements: str) -> None:
    """What no constraint of the schema would let in is written."""
    with closing(sqlite_module().connect(house / "tastemaker.db")) as database:
        database.executescript(
            ";".join(
                (
                    "PRAGMA ignore_check_constraints = ON",
                    "CREATE TABLE loose AS SELECT * FROM labels",
                    "DROP TABLE labels",
                    "ALTER TABLE loose RENAME TO labels",
                    *statements,
                )
            )
        )


AGAIN = "INSERT INTO labels SELECT * FROM labels WHERE client_id = 'said-1'"
OF_TASK = "task_id = (SELECT min(id) FROM tasks)"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT 1", {}),
        ("DELETE FROM labels WHERE client_id = 'said-1'", {"lost": 1, "wrong_seat_counts": 1}),
        ("UPDATE labels SET client_id = 'other' WHERE client_id = 'said-1'", {"lost": 1}),
        (AGAIN, {"doubled": 2, "over_limit": 1, "wrong_seat_counts": 1}),
        (f"{AGAIN}; UPDATE labels SET client_id = rowid WHERE client_id = 'said-1'", {"lost": 1, "doubled": 1}),
        (f"UPDATE labels SET {OF_TASK}", {"lost": 1}),
        (f"UPDATE seats SET state = 'free' WHERE {OF_TASK}", {"wrong_seat_counts": 1}),
        ("UPDATE seats SET state = 'done'", {"wrong_seat_counts": 2}),
        (f"DELETE FROM seats WHERE {OF_TASK}", {"over_limit": 1, "wrong_seat_counts": 1}),
        ("DELETE FROM seats WHERE state = 'free'", {"wrong_seat_counts": 1}),
    ],
)
def test_what_is_wrong_in_a_database_is_found(house: Path, statement: str, said: dict[str, int]) -> None:
    loosened(house, statement)
    record = Record(acknowledged={"said-1": 1, "said-2": 2})
    found = inspect(house, record)
    assert {name: found[name] for name in said} == said
    assert {line.split()[1] for line in told(a_good_crowd(), found)} >= set(said)
    if not said:
        assert told(a_good_crowd(), found) == []


@pytest.mark.nightly
def test_a_crowd_that_is_refused_by_the_minute_ends_the_bench_with_1() -> None:
    for most, status in ((6000, 0), (60, 1)):
        command = [sys.executable, "bench/crowd.py", "--clients", "4", "--databases", "sqlite", "--seconds", "2"]
        environment = os.environ | {"TASTEMAKER_API_CALLS_PER_MINUTE": str(most)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr[-3000:]
        wrong = json.loads(done.stdout.splitlines()[-1])["sqlite"]["broken"]
        assert any("429" in line for line in wrong) == bool(status)
