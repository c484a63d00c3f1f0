"""Counting the tokens of prompts that nobody counted, in a process beside the runs, so that no look waits for it.

A count that is lost with its worker is made again: a prompt says itself that it was not counted. A base model whose chat template
never ends is asked once by a worker, and then no more until the project has another.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterable
from typing import IO, Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import read_session
from app.database.slices import Slices
from app.models import Project, Prompt, Run
from app.prompts import lengths
from app.runs.runs import LIVE
from trainer.contract.environment import EXIT_RAN_AWAY, RAN_AWAY

AGAIN_S: Final = 600.0  # after a count that came to nothing: a model that was not fetched yet, or cannot be read
MOST_S: Final = 300.0  # of one count


class Count:
    """One process at a time, for one project at a time. `go_on()` never waits for it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._given: list[tuple[int, str]] = []  # (id, digest) of the prompts that it counts
        self._taken: IO[bytes] | None = None
        self._began = 0.0
        self._project_id, self._base_model = 0, ""
        self._batch: dict[int, int] = {}  # by project, how many are counted at once, where all that may be took too long
        self._not_before: dict[int, float] = {}  # by project, monotonic seconds
        self._never_ends: dict[int, str] = {}  # by project, the base model whose template did not come to an end

    def go_on(self, engine: Engine, project_ids: Iterable[int]) -> None:
        """Keep what was counted, and begin with the first project that has something to count."""
        if self._process is not None:
            self._look(engine, self._process)
            return
        for project_id in project_ids:
            if time.monotonic() >= self._not_before.get(project_id, 0.0) and self._begin(engine, project_id):
                return

    def end(self) -> None:
        if self._process is not None:
            lengths.end(self._process)
        self._process = None

    def _begin(self, engine: Engine, project_id: int) -> bool:
        lengths.void_other_counts(engine, project_id)
        with read_session(engine) as session:
            if not _anything_to_count(session, project_id):
                return False
            base_model = session.get_one(Project, project_id).base_model
            if self._never_ends.get(project_id) == base_model:
                return False
            found = lengths.uncounted(session, project_id, self._batch.get(project_id, lengths.COUNTED_AT_ONCE))
        with tempfile.TemporaryFile() as given:
            lengths.write_conversations(given, [messages for _id, _digest, messages in found])
            self._taken = tempfile.TemporaryFile()  # noqa: SIM115 - read in a later look
            self._process = lengths.counting(base_model, given, self._taken)
        self._given = [(id, digest) for id, digest, _messages in found]
        self._project_id, self._base_model, self._began = project_id, base_model, time.monotonic()
        return True

    def _look(self, engine: Engine, process: subprocess.Popen[bytes]) -> None:
        too_slow = process.poll() is None
        if too_slow and time.monotonic() - self._began < MOST_S:
            return
        self.end()
        if process.returncode in (-RAN_AWAY, EXIT_RAN_AWAY):
            self._never_ends[self._project_id] = self._base_model
        counts = lengths.read_counts(self._taken) if self._taken is not None and process.returncode == 0 else None
        if self._taken is not None:
            self._taken.close()
        if too_slow and len(self._given) == 1:
            counts = [None]  # refused: it would hold up all that come behind it
        elif counts is None or len(counts) != len(self._given):
            self._not_before[self._project_id] = time.monotonic() + AGAIN_S
            if too_slow:
                self._batch[self._project_id] = len(self._given) // 2
            return
        if len(self._given) == 1:
            self._batch.pop(self._project_id, None)
        slices = Slices(engine)
        rows = [(id, digest, tokens) for (id, digest), tokens in zip(self._given, counts, strict=True)]
        for some in slices.of(rows):
            with slices.write() as session:
                lengths.store_counts(session, self._project_id, self._base_model, some)


def _anything_to_count(session: Session, project_id: int) -> bool:
    """Whether a prompt was not counted, and no answers are about to be written: those come first, and people wait for them."""
    waiting = select(Prompt.id).where(Prompt.project_id == project_id, Prompt.tokens.is_(None))
    if session.scalar(waiting.limit(1)) is None:
        return False
    return session.scalar(select(Run.id).where(Run.kind == "sample", Run.state.in_(LIVE)).limit(1)) is None
