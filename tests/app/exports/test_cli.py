from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.database.engine import write_session
from app.errors import Invalid
from app.exports import cli
from app.models import Project
from tests.app.conftest import Cast
from tests.app.exports.judging import judge


def run(engine: Engine, *words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(engine, parser.parse_args(words))


def test_a_file_holds_what_was_asked_for(engine: Engine, project: Project, cast: Cast, tmp_path: Path) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left")
        judge(session, project, cast.mary, overall=4)
    assert run(engine, "demo", "--format", "ratings", "--out", str(tmp_path / "ratings.jsonl")) == 0
    assert json.loads((tmp_path / "ratings.jsonl").read_text())["overall"] == 4
    assert not (tmp_path / "ratings.jsonl.unfinished").exists()


def test_without_a_file_it_goes_to_standard_output(
    engine: Engine, project: Project, cast: Cast, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with write_session(engine) as session:
        judge(session, project, cast.mary, choice="left")
    assert run(engine, "demo", "--as", "csv", "--since", "2020-01-01") == 0
    assert capfdbinary.readouterr().out.count(b"\r\n") == 2


def test_a_share_above_one_is_refused(engine: Engine, project: Project) -> None:
    with pytest.raises(Invalid, match="min-agreement"):
        run(engine, "demo", "--min-agreement", "80")


def test_an_export_without_rows_says_so(
    engine: Engine, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(engine, "demo", "--out", str(tmp_path / "none.jsonl")) == 0
    assert (tmp_path / "none.jsonl").read_bytes() == b""
    assert "No label makes a row of this." in capsys.readouterr().err
