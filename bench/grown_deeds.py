"""How long annotators wait in a grown database (bench/grown.py) while an admin does one thing after another to all of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import Engine, Select, func, select

from app.database.engine import make_engine, read_session, write_session
from app.models import ApiKey, Project, Prompt, Task, User, utc_now
from app.web.security import digest, format_key, new_secret
from bench.stage import SLUG, Record, Server, annotate, percentiles_ms, say, working

CANDIDATE: Final = 2  # the checkpoint that waits for its promotion
BROUGHT: Final = 50_000  # prompts of one import
PAUSE_S: Final = 0.2  # of each annotator, for a task


class Annotating:
    """All annotators at work beside what the block does; each takes `PAUSE_S` for a task."""

    def __init__(self, server: Server, keys: list[str]) -> None:
        self._server, self._keys = server, keys
        self.record = Record()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._work()))

    async def _work(self) -> None:
        people = (
            annotate(number, key, self._server.url, self._stop, self.record, pause_s=PAUSE_S)
            for number, key in enumerate(self._keys)
        )
        await asyncio.gather(*people)

    def __enter__(self) -> Annotating:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def beside(self, name: str, deed: Callable[[], Any]) -> dict[str, Any]:
        """How long the deed took, and how long verdicts waited meanwhile and in the second after it."""
        began = time.perf_counter()
        found = deed()
        took_s = time.perf_counter() - began
        time.sleep(1)
        waits = [wait for wait, at in zip(self.record.submits_s, self.record.submitted_at, strict=False) if at >= began]
        figures = {"took_s": round(took_s, 1), "verdicts": len(waits), **percentiles_ms(waits)}
        figures |= {"longest_ms": round(1000 * max(waits))} | ({"rows": found} if isinstance(found, int) else {})
        say(f"{name}: {figures}")
        return figures


def admin_key(data: Path) -> str:
    """The key of a program that may do everything."""
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")
    with write_session(engine) as session:
        owner = User(email="program@example.org", name="Program", is_owner=True)
        session.add(owner)
        session.flush()
        secret = new_secret()
        key = ApiKey(user_id=owner.id, secret_hash=digest(secret), scopes=["admin"], expires_at=utc_now() + timedelta(days=1))
        session.add(key)
        session.flush()
        made = format_key(key.id, secret)
    engine.dispose()
    return made


def deeds(data: Path, server: Server, keys: list[str]) -> dict[str, dict[str, Any]]:
    """What an admin does beside the annotators, one after another. Raises RuntimeError where something is refused."""
    headers = {"Authorization": f"Bearer {admin_key(data)}"}
    engine = make_engine(f"sqlite:///{data / 'tastemaker.db'}")

    def ask(method: str, path: str, **sent: Any) -> httpx.Response:
        reply = httpx.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=600, **sent)
        if reply.status_code >= 300:
            raise RuntimeError(f"{method} {path} answered {reply.status_code}: {reply.text[:500]}")
        return reply

    def promote() -> int:
        with read_session(engine) as session:
            before = session.scalar(select(func.max(Task.id))) or 0
        ask("POST", f"/checkpoints/{CANDIDATE}/promote", json={"confirm": True})
        with working(data):
            _wait_for(engine, select(Project.id).where(Project.questions_due_at.is_(None)))
        with read_session(engine) as session:
            return (session.scalar(select(func.max(Task.id))) or 0) - before

    def bring_in() -> int:
        items = [{"text": f"What would you say to number {number} in the queue, and why?"} for number in range(BROUGHT)]
        return int(ask("POST", f"/projects/{SLUG}/prompts", json={"items": items}).json()["created"])

    def put_away() -> int:
        with read_session(engine) as session:  # of the younger half, which nobody has answered
            ids = session.scalars(select(Prompt.id).order_by(Prompt.id.desc()).offset(BROUGHT).limit(10_000)).all()
        body = {"ids": list(ids)}
        return int(ask("POST", f"/projects/{SLUG}/prompts/archive", json=body).json()["changed"])

    def take_out() -> int:
        rows = 0
        path = f"{server.url}/api/v1/projects/{SLUG}/export"
        with httpx.stream("GET", path, params={"format": "preference"}, headers=headers, timeout=600) as reply:
            reply.raise_for_status()
            for chunk in reply.iter_bytes():
                rows += chunk.count(b"\n")
        return rows

    def freeze() -> None:
        run_id = ask("POST", f"/projects/{SLUG}/rounds").json()["runs"][0]["id"]
        with working(data):
            while not (data / "runs" / f"{run_id}" / "run.json").exists():
                time.sleep(0.1)

    found = {}
    with Annotating(server, keys) as annotating:
        time.sleep(3)
        for name, deed in (
            ("nothing", lambda: time.sleep(10)),
            ("promotion", promote),
            ("import", bring_in),
            ("10,000 prompts put away", put_away),
            ("export", take_out),
            ("freeze", freeze),
        ):
            found[name] = annotating.beside(name, deed)
    engine.dispose()
    if annotating.record.errors:
        raise RuntimeError(f"{len(annotating.record.errors)} refused, the first: {annotating.record.errors[0]}")
    return found


def _wait_for(engine: Engine, query: Select[Any]) -> None:
    while True:
        with read_session(engine) as session:
            if session.scalar(query) is not None:
                return
        time.sleep(0.1)
