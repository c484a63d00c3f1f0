"""The stage of the web benches: a database full of open tasks, the real server as a process, annotators who work it.

The annotators are one event loop of aiohttp clients: it costs the machine a quarter of what the server does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import func, insert, select

from app.contenders.service import contender_of
from app.database.engine import make_engine, read_session, write_session
from app.database.upgrade import upgrade_to_head
from app.models import (
    ApiKey,
    Checkpoint,
    Contender,
    Generation,
    Guideline,
    Label,
    Membership,
    Project,
    Prompt,
    Run,
    Seat,
    Task,
    User,
    utc_now,
)
from app.queue.make_tasks import plan, store
from app.settings import Settings
from app.web.security import digest, format_key, new_secret
from trainer.contract.messages import Message

ROOT = Path(__file__).resolve().parent.parent
SLUG = "bench"
SERVE = "from app.serve import serve; from app.settings import get_settings; raise SystemExit(serve(get_settings()))"
ANSWER = "A plain answer of about the length that a small model writes, so that what is sent and stored has a real size. " * 3
CRITERIA = [
    {"key": key, "name": key.title(), "description": "How good it is.", "anchors": {"1": "Bad", "5": "Good"}}
    for key in ("fluency", "accuracy", "completeness", "harmlessness")
]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# The database


def sqlite_in(data: Path) -> str:
    return Settings(data=data).url


def fill(
    data: Path, *, tasks: int, annotators: int, overlap: int = 1, rating_share: float = 0.25, database: str = ""
) -> list[str]:
    """A database with so many open tasks in one project; its annotators' API keys. `database`: a URL, else it lies in `data`."""
    data.mkdir(parents=True, exist_ok=True)
    upgrade_to_head(database or sqlite_in(data))
    engine = make_engine(database or sqlite_in(data))
    prompts = int(tasks / (1 - rating_share / 2)) + 1  # a comparison uses both answers of a prompt, a rating one
    with write_session(engine) as session:
        project = Project(
            slug=SLUG,
            name="Bench",
            base_model="none",
            criteria=CRITERIA,
            sampling={},
            overlap=overlap,
            rating_share=rating_share,
        )
        session.add(project)
        session.flush()
        policy = Checkpoint(project_id=project.id, kind="policy", name=Message("base_model"), source="none")
        run = Run(project_id=project.id, kind="sample", state="done", config={})
        session.add_all([policy, run, Guideline(project_id=project.id, version=1, text="Prefer what helps.")])
        session.flush()
        project.policy_id = policy.id
        contender = contender_of(session, policy)
        for start in range(0, prompts, 2000):
            _write_prompts(session.connection(), contender, run.id, range(start, min(prompts, start + 2000)))
        questions = plan(session, project)
        made = [store(session, project, questions[start : start + 1000]) for start in range(0, len(questions), 1000)]
        say(f"{sum(made)} open tasks")
        keys = [_make_annotator(session, project.id, number) for number in range(annotators)]
    engine.dispose()
    return keys


def _write_prompts(connection: Any, contender: Contender, run_id: int, numbers: range) -> None:
    rows = [
        {
            "project_id": contender.project_id,
            "messages": [{"role": "user", "content": f"Question {number}: what would you advise, and why?"}],
            "digest": f"{number:064x}",
            "split": "train",
        }
        for number in numbers
    ]
    ids = connection.execute(insert(Prompt).returning(Prompt.id, sort_by_parameter_order=True), rows).scalars().all()
    answers = [
        {
            "prompt_id": prompt_id,
            "contender_id": contender.id,
            "checkpoint_id": contender.checkpoint_id,
            "run_id": run_id,
            "number": number,
            "settings": {},
            "seed": number,
            "text": f"{ANSWER}{prompt_id}.{number}",
            "token_ids": list(range(64)),
            "finish_reason": "eos",
        }
        for prompt_id in ids
        for number in range(2)
    ]
    connection.execute(insert(Generation), answers)


def _make_annotator(session: Any, project_id: int, number: int) -> str:
    user = User(email=f"annotator{number}@example.org", name=f"Annotator {number}")
    session.add(user)
    session.flush()
    secret = new_secret()
    key = ApiKey(user_id=user.id, secret_hash=digest(secret), scopes=["annotate"], expires_at=utc_now() + timedelta(days=1))
    session.add_all([key, Membership(user_id=user.id, project_id=project_id, role="annotator")])
    session.flush()
    return format_key(key.id, secret)


# The server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def working(data: Path) -> Iterator[None]:
    """The worker beside the server, as a process."""
    with (data / "worker.log").open("ab") as log:
        command = [sys.executable, "-m", "trainer.worker.supervisor"]
        environment = os.environ | {"TASTEMAKER_DATA": str(data)}
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


class Server:
    """`tastemaker serve` on a data folder, without what it prepares first, as a process that can be killed."""

    def __init__(self, data: Path, database: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (data / "web.log").open("ab")
        self._environment = os.environ | {"TASTEMAKER_DATA": str(data), "TASTEMAKER_PORT": str(self.port)}
        if database:
            self._environment["TASTEMAKER_DATABASE_URL"] = database
        self._process: subprocess.Popen[bytes] | None = None
        self.before: list[str] = []  # what runs the server: the words before its own

    def start(self, patience_s: float = 60.0) -> float:
        """Starts it and waits until it answers; seconds that took. Raises RuntimeError when it does not."""
        began = time.monotonic()
        self._process = subprocess.Popen(
            [*self.before, sys.executable, "-c", SERVE],
            cwd=ROOT,
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )
        while time.monotonic() < began + patience_s:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return time.monotonic() - began
            time.sleep(0.02)
        said = Path(self._log.name).read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the server did not start in {patience_s} s. Its last words:\n{said}")

    def kill(self) -> None:
        """kill -9: no handler runs, nothing is flushed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def status(self) -> int | None:
        """With which it ended; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cpu_s(self) -> float:
        """Processor seconds it has used so far."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_mib(self) -> float | None:
        if self._process is None or not Path(f"/proc/{self._process.pid}/status").exists():
            return None
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
        return None


@contextmanager
def serving(data: Path, database: str = "") -> Iterator[Server]:
    server = Server(data, database)
    try:
        server.start()
        yield server
    finally:
        server.stop()


# The annotators


@dataclass
class Record:
    """What the annotators saw."""

    claims_s: list[float] = field(default_factory=list)
    submits_s: list[float] = field(default_factory=list)
    submitted_at: list[float] = field(default_factory=list)  # `time.perf_counter()` when each of those was answered
    holders: dict[int, set[int]] = field(default_factory=dict)  # task -> annotators it was served to
    acknowledged: dict[str, int] = field(default_factory=dict)  # client_id -> task
    retries: int = 0
    errors: list[str] = field(default_factory=list)
    ran_dry: bool = False


async def annotate(
    number: int, key: str, url: str, stop: asyncio.Event, record: Record, *, patience_s: float = 0.0, pause_s: float = 0.0
) -> None:
    """Claim, think for `pause_s` and submit until `stop`. A verdict that was sent is sent again until it is acknowledged.

    With `patience_s` 0 a lost connection is an error; otherwise it is retried for so long.
    """
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url, headers=headers, connector=aiohttp.TCPConnector(limit=1)) as client:
        while not stop.is_set():
            began = time.perf_counter()
            status, task = await _post(client, f"/api/v1/projects/{SLUG}/tasks/next", None, record, patience_s)
            record.claims_s.append(time.perf_counter() - began)
            if status == 204:
                record.ran_dry = True
                return
            if status != 200:
                record.errors.append(f"next {status} {task}")
                continue
            record.holders.setdefault(task["id"], set()).add(number)
            body = verdict(task)
            await asyncio.sleep(pause_s)
            began = time.perf_counter()
            status, reply = await _post(client, f"/api/v1/tasks/{task['id']}/label", body, record, patience_s)
            record.submitted_at.append(time.perf_counter())
            record.submits_s.append(record.submitted_at[-1] - began)
            if status in (200, 201):
                record.acknowledged[body["client_id"]] = task["id"]
            else:
                record.errors.append(f"label {status} {reply}")


def verdict(task: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"client_id": str(uuid.uuid4()), "active_ms": 4000}
    if task["kind"] == "comparison":
        return said | {"choice": "left" if task["id"] % 2 else "right", "strength": 1}
    return said | {"overall": 1 + task["id"] % 5, "criteria": {"fluency": 4, "accuracy": 3}}


async def _post(client: aiohttp.ClientSession, path: str, body: Any, record: Record, patience_s: float) -> tuple[int, Any]:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            async with client.post(path, json=body) as reply:
                return reply.status, await reply.json(content_type=None) if reply.status != 204 else None
        except (aiohttp.ClientError, ConnectionError) as error:
            if time.monotonic() >= deadline:
                return 0, repr(error)
            record.retries += 1
            await asyncio.sleep(0.1)


# What the database says afterwards


def inspect(data: Path, record: Record, database: str = "") -> dict[str, int]:
    """Compares the database with what was acknowledged. Every figure but the first should be 0."""
    engine = make_engine(database or sqlite_in(data))
    with read_session(engine) as session:
        labels = dict(session.execute(select(Label.client_id, Label.task_id)).all())
        per_task = dict(session.execute(select(Label.task_id, func.count()).where(Label.current).group_by(Label.task_id)).all())
        seats = dict(session.execute(select(Seat.task_id, func.count()).group_by(Seat.task_id)).all())
        done = dict(session.execute(select(Seat.task_id, func.count()).where(Seat.state == "done").group_by(Seat.task_id)).all())
        seated = dict(
            session.execute(
                select(Label.task_id, func.count()).where(Label.current, Label.seat_id.is_not(None)).group_by(Label.task_id)
            ).all()
        )
        tasks = session.scalar(select(func.count()).select_from(Task)) or 0
        twice = session.execute(select(Label.client_id).group_by(Label.client_id).having(func.count() > 1)).all()
        same = select(Label.task_id).group_by(Label.task_id, Label.annotator_id, Label.version).having(func.count() > 1)
        said_twice = session.execute(same).all()
    engine.dispose()
    return {
        "labels_in_db": len(labels),
        "lost": sum(labels.get(client_id) != task_id for client_id, task_id in record.acknowledged.items()),
        "doubled": len(twice) + len(said_twice),
        "over_limit": sum(count > seats.get(task_id, 0) for task_id, count in per_task.items()),
        "wrong_seat_counts": sum(done.get(task_id, 0) != seated.get(task_id, 0) for task_id in seats) + int(tasks != len(seats)),
    }


def percentiles_ms(times_s: list[float], prefix: str = "") -> dict[str, float]:
    ordered = sorted(times_s)
    return {
        f"{prefix}p{point}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * point // 100)] * 1000, 1)
        for point in (50, 95, 99)
        if ordered
    }
