"""Two web processes and two workers on one PostgreSQL, as they are run: a short round from the first start to its decision."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from app.database.engine import make_engine, read_session, write_session
from app.models import Generation, Label, Project, Round, Run, Seat, Task
from tests.app import factories
from tests.postgres import free_port, server
from tests.sft_model import simple_model

__all__ = ["server", "simple_model"]

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]  # what each part guards, test_at_once.py shows in seconds

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 240
PEOPLE = 6


@dataclass
class House:
    """The processes, their addresses, and every status that was answered."""

    engine: Engine
    webs: list[str]
    processes: list[subprocess.Popen[bytes]]
    key: str = ""
    statuses: Counter[int] = field(default_factory=Counter)

    def calls(self, key: str = "") -> Callable[..., httpx.Response]:
        """`call(method, path, ...)`, at one web process after the other."""
        webs = cycle(
            httpx.Client(base_url=f"{web}/api/v1", headers={"Authorization": f"Bearer {key or self.key}"}, timeout=60)
            for web in self.webs
        )

        def call(method: str, path: str, **given: Any) -> httpx.Response:
            reply = next(webs).request(method, path, **given)
            self.statuses[reply.status_code] += 1
            return reply

        return call


@pytest.fixture
def house(server: str, tmp_path: Path, simple_model: Path) -> Iterator[House]:
    """All four begin at the same moment, on an empty database."""
    environment = os.environ | {
        "TASTEMAKER_DATA": str(tmp_path / "data"),
        "TASTEMAKER_DATABASE_URL": server,
        "TASTEMAKER_BASE_MODEL": str(simple_model),
        "TASTEMAKER_THREADS": "1",
    }
    ports = [free_port() for _ in range(2)]
    webs = [_start(environment | {"TASTEMAKER_PORT": str(port)}, "serve", "--quiet") for port in ports]
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    house = House(make_engine(server), addresses, webs)
    try:
        for address in addresses:
            _wait_until(lambda address=address: _answers(address), "no web process answers")  # type: ignore[misc]
        house.processes += [_start(environment, "work") for _ in range(2)]
        with write_session(house.engine) as session:
            house.key = factories.make_key(session, factories.make_user(session, "Olga", owner=True).id, "admin", "annotate")
        yield house
    finally:
        for process in house.processes:
            process.kill()
            process.wait(30)
        house.engine.dispose()


def _start(environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "app.cli", *command], cwd=ROOT, env=environment)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/v1/health", timeout=5).status_code in (200, 503)
    except httpx.TransportError:
        return False


def _wait_until(met: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.3)


def test_a_round_goes_from_the_first_start_to_its_decision(house: House) -> None:
    owner = house.calls()
    with read_session(house.engine) as session:
        assert session.scalar(select(func.count(Project.id))) == 1  # both web processes wanted to make the demo
    small = {"ppo": {"updates": 1, "episodes": 16, "max_new_tokens": 16}}
    changes = {"rating_share": 0.0, "queue_low_mark": 1, "overlap": 2, "training": small}
    assert owner("PATCH", "/projects/demo", json=changes).status_code == 200
    runs = [owner("POST", "/projects/demo/runs", json={"kind": "sample"}).json()["id"] for _ in range(2)]

    keys = [make_annotator(house, f"annotator-{number}") for number in range(PEOPLE)]
    with ThreadPoolExecutor(PEOPLE) as people:
        given = sum(people.map(lambda key: annotate(house, key, runs), keys))
    assert given == labels_stored(house) > 100

    def start(call: Callable[..., httpx.Response]) -> httpx.Response:
        return call("POST", "/projects/demo/rounds")

    with ThreadPoolExecutor(8) as admins:
        started = list(admins.map(start, [house.calls() for _ in range(8)]))
    assert Counter(reply.status_code for reply in started) == {202: 1, 409: 7}
    round_id = next(reply.json()["id"] for reply in started if reply.status_code == 202)
    _wait_until(lambda: round_state(house, round_id) not in ("reward", "ppo", "sample"), "the round stands still")
    assert round_state(house, round_id) == "decision", owner("GET", f"/rounds/{round_id}").text
    candidate = owner("GET", f"/rounds/{round_id}").json()["candidate_id"]
    promoted = owner("POST", f"/checkpoints/{candidate}/promote", json={"confirm": True})
    assert promoted.status_code == 200, promoted.text
    assert round_state(house, round_id) == "done"

    look_at_the_rows(house)
    assert not [status for status in house.statuses if status >= 500], house.statuses
    assert [process.poll() for process in house.processes] == [None] * 4  # no worker ended, and no web process
    for process in house.processes:
        process.send_signal(signal.SIGTERM)
    ended = [process.wait(60) for process in house.processes]
    assert set(ended[:2]) <= {0, -signal.SIGTERM}  # uvicorn ends in order and then by the signal
    assert ended[2:] == [0, 0]


def make_annotator(house: House, name: str) -> str:
    with write_session(house.engine) as session:
        person = factories.make_user(session, name).id
        factories.make_membership(session, person, session.scalars(select(Project.id)).one(), "annotator")
        return factories.make_key(session, person, "annotate")


def annotate(house: House, key: str, runs: list[int]) -> int:
    """Judges whatever there is, until the sampling is done and nothing is left; how many verdicts were stored."""
    call, owner, given = house.calls(key), house.calls(), 0
    while True:
        done = all(owner("GET", f"/runs/{run_id}").json()["state"] == "done" for run_id in runs)
        reply = call("POST", "/projects/demo/tasks/next")
        if reply.status_code == 204:
            if done:
                return given
            time.sleep(0.3)
            continue
        task = reply.json()
        left, right = len(task["left"]["text"]), len(task["right"]["text"])
        choice = "tie" if left == right else "left" if left < right else "right"
        stored = call("POST", f"/tasks/{task['id']}/label", json={"client_id": str(uuid.uuid4()), "choice": choice})
        assert stored.status_code == 201, stored.text
        given += 1


def labels_stored(house: House) -> int:
    with read_session(house.engine) as session:
        return session.scalar(select(func.count(Label.id))) or 0


def round_state(house: House, round_id: int) -> str:
    with read_session(house.engine) as session:
        return session.get_one(Round, round_id).state


def look_at_the_rows(house: House) -> None:
    """No overlap exceeded, no answer asked about twice or stored twice, every run ended well at its first attempt."""
    with read_session(house.engine) as session:
        seats = session.scalars(select(func.count(Seat.id)).group_by(Seat.task_id)).all()
        judged = session.scalars(select(func.count(Label.id)).where(~Label.surplus).group_by(Label.task_id)).all()
        assert max(seats) <= 2
        assert max(judged) <= 2
        asked = Counter(
            one for row in session.execute(select(Task.first_generation_id, Task.second_generation_id)) for one in row if one
        )
        assert max(asked.values()) == 1
        doubled = select(Generation.run_id).group_by(Generation.run_id, Generation.prompt_id, Generation.number)
        assert session.execute(doubled.having(func.count() > 1)).all() == []
        states = session.execute(select(Run.kind, Run.state, Run.attempts, Run.message).where(Run.state != "queued")).all()
        assert {(state, attempts) for _, state, attempts, _ in states} <= {("done", 1), ("running", 1)}, states
