"""Marks in exports: a column of reasons that could be given, and one of marks as JSON, which reads back as it was stored."""

from __future__ import annotations

import csv
import json

from sqlalchemy import Engine

from app.database.engine import write_session
from app.models import Project
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.app.exports.test_service import exported, rows

REASON = {"key": "wrong", "description": "", "tone": "bad", "since": "2026-01-01T00:00:00+00:00"}
MARK = {"start": 3, "end": 4, "reason": "wrong", "quote": "🙂"}


def test_marks_read_back_as_they_were_stored(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        session.get_one(Project, project.id).span_reasons = [REASON | {"name": "untrue", "version": 2, "earlier": ["wrong"]}]
        judge(session, project, cast.mary, overall=4, spans={"reasons": {"wrong": 1}, "response": [MARK]})
        judge(session, project, cast.mary, choice="left", spans={"reasons": {"wrong": 2}})
        judge(session, project, cast.mary, choice="left")
        session.expire_all()
        project = session.get_one(Project, project.id)
        session.expunge(project)
    (rated,) = rows(engine, project, format="ratings")
    marked = {"side": "response", **MARK, "words": "wrong"}
    assert (rated["span_reasons"], json.loads(rated["spans"])) == ("wrong", [marked])
    said = [(row["span_reasons"], row["spans"]) for row in rows(engine, project, format="labels")]
    assert said[1:] == [("wrong", "[]"), ("", "")]
    table = exported(engine, project, format="labels", as_="csv").removeprefix("\ufeff")
    assert json.loads(next(csv.DictReader(table.splitlines()))["spans"]) == [marked]


def test_without_reasons_there_is_no_column(engine: Engine, project: Project, cast: Cast) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left")
    (row,) = rows(engine, project, format="labels")
    assert not {"spans", "span_reasons", "rubric"} & row.keys()
