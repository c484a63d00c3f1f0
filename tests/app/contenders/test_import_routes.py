"""The page of imported answers, and the command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.contenders import cli
from app.database.engine import read_session
from app.models import Generation, Project
from app.prompts.cli import add_arguments

Browser = Callable[[str], TestClient]
PAGE = "/projects/demo/answers/import"
LINE = '{"prompt": "Why do cats purr?", "text": "To calm themselves.", "model": "gpt-x"}'


def test_pasted_answers_come_in_and_the_page_says_how_many(as_user: Browser, engine: Engine) -> None:
    browser = as_user("Grace")
    assert f'href="{PAGE}"' in browser.get("/projects/demo/prompts").text
    reply = browser.post(PAGE, data={"pasted": LINE, "format": "auto"}, follow_redirects=True)
    assert reply.status_code == 200
    assert "Imported 1 answer. With them came 1 prompt." in reply.text
    again = browser.post(PAGE, data={"pasted": LINE, "format": "jsonl"}, follow_redirects=True)
    assert "Imported 0 answers. Already there: 1 answer." in again.text
    with read_session(engine) as session:
        assert session.scalars(select(Generation.text)).all() == ["To calm themselves."]


def test_an_uploaded_table_is_read_and_bad_lines_are_shown(as_user: Browser) -> None:
    browser = as_user("Grace")
    table = b"prompt,model,text\nWhy?,<b>x</b>,A.\nHow?,y,\n"
    file = ("answers.csv", table, "text/csv")
    reply = browser.post(PAGE, data={"format": "auto", "pasted": ""}, files={"file": file})
    assert reply.status_code == 422
    assert "Nothing was imported: 1 line cannot be used." in reply.text
    assert re.search(r'<td class="number">3</td><td>There is no text here', reply.text)
    data = {"format": "csv", "pasted": "", "skip_bad_lines": "on"}
    assert browser.post(PAGE, data=data, files={"file": file}).status_code == 303


def test_an_empty_form_and_plain_text_say_what_is_missing(as_user: Browser) -> None:
    browser = as_user("Grace")
    assert "choose a file or paste answers" in browser.post(PAGE, data={"pasted": " ", "format": "auto"}).text
    assert "Answers are read as JSON" in browser.post(PAGE, data={"pasted": "Why?\nBecause.", "format": "auto"}).text


def run(engine: Engine, *words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return cli.run(engine, parser.parse_args(["--answers", *words]))


def test_the_command_imports_a_file_and_names_bad_lines(
    engine: Engine, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{LINE}\n{{"prompt": "Why?"}}\n')
    assert run(engine, "demo", str(file)) == 1
    assert "line 2: There is no text, model here" in capsys.readouterr().err
    assert run(engine, "demo", str(file), "--skip-bad-lines") == 0
    assert capsys.readouterr().out == "1 created, 0 there already, 1 left out; 1 new prompts\n"
