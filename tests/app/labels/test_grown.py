"""A database that has grown: what everybody waits for looks things up and never reads through what is long done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.database.engine import make_engine, read_session, write_session
from app.labels import history
from app.labels.history import Progress
from app.labels.record import record_label
from app.models import Label, Seat, utc_now
from app.queue.claim import claim_next
from app.runs.usable_labels import usable_label_count
from bench.grown import fill_grown
from tests.app.labels.test_record import say

LABELS, TASKS = 3000, 300
ME = 1


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Every label is of one person, and every answered task still has a free seat."""
    folder = tmp_path_factory.mktemp("grown")
    fill_grown(folder, tasks=TASKS, labels=LABELS, annotators=1, overlap=2)
    engine = make_engine(f"sqlite:///{folder / 'tastemaker.db'}")
    yield engine
    engine.dispose()


@contextmanager
def plans(session: Session) -> Iterator[list[str]]:
    """How SQLite finds the rows of every statement that is run meanwhile, whoever asks the driver for it; known at the end."""
    driver: Any = session.connection().connection.driver_connection
    asked: list[str] = []
    found: list[str] = []
    driver.set_trace_callback(asked.append)
    try:
        yield found
    finally:
        driver.set_trace_callback(None)
    for statement in asked:
        if statement.split()[0] in ("SELECT", "UPDATE"):
            rows = driver.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * statement.count("?"))
            found.extend(row[3] for row in rows)


def read_through(found: list[str]) -> list[str]:
    """Steps that read a table, or an open-ended part of one, in its own order."""
    tables = ("seats", "labels", "tasks", "skips", "generations", "prompts")
    return [step for step in found if step.startswith(tuple(f"SCAN {table}" for table in tables)) or "(rowid>" in step]


def test_the_way_to_the_next_task_reads_through_nothing(grown: Engine) -> None:
    with write_session(grown) as session, plans(session) as found:
        connection = session.connection()
        task = claim_next(connection, 1, ME, now=utc_now(), lease=timedelta(minutes=10))
        assert task is not None
        more = claim_next(connection, 1, ME, now=utc_now(), lease=timedelta(minutes=10), besides=[task.id])
        assert more is not None
        record_label(connection, task.id, ME, say(), interface="test", now=utc_now())

    assert task.id == LABELS + 1
    assert len(found) > 10
    assert read_through(found) == []


def test_what_stands_around_it_reads_through_nothing(grown: Engine) -> None:
    with write_session(grown) as session:
        done = session.scalars(select(Seat.id).where(Seat.annotator_id == ME, Seat.state == "done")).all()
        labels = session.scalars(select(Label.id)).all()
    with write_session(grown) as session, plans(session) as found:
        progress = history.progress(session, 1, ME)
        history.last_verdicts(session, 1, ME)

    assert len(done) >= LABELS
    assert len(labels) >= LABELS
    assert progress == Progress(progress.today, history.COUNT_TO, True)
    assert read_through(found) == []
    assert any("ix_labels_annotator_id_created_at" in step for step in found), found


def test_labels_that_a_run_would_learn_from_are_counted_without_a_look_at_them(grown: Engine) -> None:
    with read_session(grown) as session, plans(session) as found:
        assert usable_label_count(session, 1) >= LABELS
    by_index = "project_id=? AND current=? AND surplus=? AND trains=? AND overruled=?"
    assert [step for step in found if "labels" in step] == [f"SEARCH labels USING COVERING INDEX ix_labels_usable ({by_index})"]
