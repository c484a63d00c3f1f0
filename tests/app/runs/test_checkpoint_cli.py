"""Exporting a checkpoint from the command line: a process of the trainer's does the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.database.engine import read_session, write_session
from app.errors import Conflict, NotFound
from app.models import Project, Prompt
from app.runs import checkpoint_cli
from app.runs.checkpoint_cli import _write_answers, add_checkpoint_arguments, run_checkpoint
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_cli import arguments


def make(engine: Engine, settings: Settings, cast: Cast, kind: str = "policy", run: bool = True) -> int:
    with write_session(engine) as session:
        run_id = factories.make_run(session, cast.demo).id if run else None
        (settings.runs / "1" / "checkpoint").mkdir(parents=True, exist_ok=True)
        values = {"kind": kind, "source": "runs/1/checkpoint", "run_id": run_id}
        return factories.make_checkpoint(session, cast.demo, **values).id


def test_the_trainer_does_the_work_and_says_what_is_wrong(
    engine: Engine, settings: Settings, cast: Cast, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint_id = make(engine, settings, cast)
    status = run_checkpoint(engine, settings, arguments(add_checkpoint_arguments, "export", str(checkpoint_id)))
    told = capfd.readouterr().err
    assert (status, "runs/1/checkpoint has no manifest.json" in told) == (2, True)  # the trainer's own words


def test_a_rewards_answers_are_handed_over_in_the_form_of_a_panel(engine: Engine, cast: Cast, tmp_path: Path) -> None:
    with write_session(engine) as session:
        task = factories.make_task(session, session.get_one(Project, cast.demo))
        factories.make_task(session, session.get_one(Project, cast.other))
        prompt = session.get_one(Prompt, task.prompt_id)
        prompt_id, messages = prompt.id, prompt.messages
    with read_session(engine) as session:
        _write_answers(session, cast.demo, tmp_path / "panel.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "panel.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert {row["prompt_id"] for row in rows} == {prompt_id}
    assert rows[0]["messages"] == messages
    assert rows[0]["response"]["token_ids"] is None  # another model's ids would mean other words


def test_of_the_run_that_is_cut_those_drawn_first_are_handed_over(
    engine: Engine, cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_cli, "MOST_ANSWERS", 3)
    with write_session(engine) as session:
        prompt, base = factories.make_prompt(session, cast.demo), factories.make_checkpoint(session, cast.demo).id
        for run in ("older", "newer"):
            run_id = factories.make_run(session, cast.demo).id
            for number in (1, 0):  # the short one ended first
                factories.make_generation(session, prompt, base, f"{run} {number}", run_id=run_id, number=number)
    with read_session(engine) as session:
        _write_answers(session, cast.demo, tmp_path / "panel.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "panel.jsonl").read_text().splitlines()]
    assert [row["response"]["text"] for row in rows] == ["newer 0", "newer 1", "older 0"]


def test_what_is_not_here_or_has_no_run_is_refused(engine: Engine, settings: Settings, cast: Cast) -> None:
    with write_session(engine) as session:
        elsewhere = factories.make_checkpoint(session, cast.demo, source="someone/a-model").id
    with pytest.raises(NotFound, match="not on this machine"):
        run_checkpoint(engine, settings, arguments(add_checkpoint_arguments, "export", str(elsewhere)))
    bare = str(make(engine, settings, cast, run=False))
    with pytest.raises(Conflict, match="as it came"):
        run_checkpoint(engine, settings, arguments(add_checkpoint_arguments, "export", bare))
