from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.database.engine import read_session
from app.errors import NotFound
from app.models import Project
from app.prompts import cli
from app.prompts.search import PromptFilter, find_prompts


def run(engine: Engine, *words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(engine, parser.parse_args(words))


def test_a_file_is_imported_and_counted(
    engine: Engine, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("One?\nTwo?\none?\n")
    assert run(engine, "demo", str(file)) == 0
    assert capsys.readouterr().out == "2 created, 1 there already, 0 left out\n"
    with read_session(engine) as session:
        assert len(find_prompts(session, project.id, PromptFilter())) == 2


def test_a_bad_line_is_named_and_keeps_everything_out(
    engine: Engine, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"text": "One?"}\n{"text": ""}\n')
    assert run(engine, "demo", str(file)) == 1
    assert "line 2: The text is empty." in capsys.readouterr().err
    with read_session(engine) as session:
        assert find_prompts(session, project.id, PromptFilter()) == []
    assert run(engine, "demo", str(file), "--skip-bad-lines") == 0
    assert capsys.readouterr().out == "1 created, 0 there already, 1 left out\n"


def test_an_unknown_project_is_refused(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("One?\n")
    with pytest.raises(NotFound):
        run(engine, "nowhere", str(file))


def test_what_is_nearly_the_same_is_named(
    engine: Engine, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("Why do cats purr when they sleep on a chair?\nOne?\nWhy do cats purr when they sleep on the chair?\n")
    assert run(engine, "demo", str(file)) == 0
    said = capsys.readouterr()
    assert said.out == "3 created, 0 there already, 0 left out\n"
    assert "Nearly the same as another prompt, and imported all the same: 1 prompt (line 3 is like line 1)." in said.err
