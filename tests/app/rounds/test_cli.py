"""Rounds and texts from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from app.database.engine import read_session, write_session
from app.errors import Archived, Conflict, Invalid
from app.models import Project, Round, Run, utc_now
from app.rounds import cli
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.rounds.test_service import label_task, make_labels


def arguments(add: Callable[[argparse.ArgumentParser], None], *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(words)


def test_a_round_is_started_and_its_time_told(engine: Engine, cast: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    with write_session(engine) as session:
        make_labels(session, session.get_one(Project, cast.demo), 30, cast.mary)
    given = arguments(cli.add_round_arguments, "demo", "--config", '{"ppo": {"updates": 3}}')
    assert cli.run_round(engine, given) == 0
    assert capsys.readouterr().out.startswith("Round 1 started on 30 labels; it takes about ")
    with read_session(engine) as session:
        assert session.scalars(select(Round)).one().config["ppo"]["updates"] == 3
    with pytest.raises(Conflict, match="Round 1 is still running"):
        cli.run_round(engine, given)


def test_waiting_for_a_round_ends_with_it(engine: Engine, cast: Cast, capsys: pytest.CaptureFixture[str]) -> None:
    with write_session(engine) as session:
        make_labels(session, session.get_one(Project, cast.demo), 30, cast.mary)
    cli.run_round(engine, arguments(cli.add_round_arguments, "demo"))
    with write_session(engine) as session:
        round_ = session.scalars(select(Round)).one()
        round_.state, round_.reason, round_id = "refused", factories.written("The labels contradict each other."), round_.id
    assert cli._wait(engine, round_id) == 1
    assert "The round ended refused. The labels contradict each other." in capsys.readouterr().out


@pytest.mark.parametrize("config", ["[1]", "{", "7"])
def test_settings_that_are_no_object_are_refused(engine: Engine, cast: Cast, config: str) -> None:
    with pytest.raises(Invalid, match="JSON object"):
        cli.run_round(engine, arguments(cli.add_round_arguments, "demo", "--config", config))


def test_a_text_is_copied_and_its_run_queued(engine: Engine, settings: Settings, cast: Cast, tmp_path: Path) -> None:
    text = tmp_path / "elsewhere" / "tales.txt"
    text.parent.mkdir()
    text.write_text("Once.")
    given = arguments(cli.add_sft_arguments, "demo", str(text), "--config", '{"epochs": 2}')
    assert cli.run_sft(engine, settings, given) == 0
    assert (settings.data / "texts" / "demo" / "tales.txt").read_text() == "Once."
    with read_session(engine) as session:
        run = session.scalars(select(Run)).one()
    assert (run.kind, run.inputs["text"], run.config["epochs"]) == ("sft", "tales.txt", 2)


def test_no_text_is_copied_into_an_archived_project(engine: Engine, settings: Settings, cast: Cast, tmp_path: Path) -> None:
    text = tmp_path / "tales.txt"
    text.write_text("Once upon a time.")
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).archived_at = utc_now()
    with pytest.raises(Archived):
        cli.run_sft(engine, settings, arguments(cli.add_sft_arguments, "demo", str(text)))
    assert not (settings.data / "texts").exists()


def test_rewrites_are_trained_on_without_a_file(engine: Engine, settings: Settings, cast: Cast) -> None:
    with pytest.raises(Invalid, match="or --rewrites"):
        cli.run_sft(engine, settings, arguments(cli.add_sft_arguments, "demo"))
    with write_session(engine) as session:
        task = factories.make_task(session, session.get_one(Project, cast.demo))
        label_task(session, task, cast.mary, rewrite={"side": "left", "text": "Better."})
    assert cli.run_sft(engine, settings, arguments(cli.add_sft_arguments, "demo", "--rewrites")) == 0
    with read_session(engine) as session:
        assert session.scalars(select(Run).where(Run.kind == "sft")).one().inputs["rewrites"] is True


def test_a_round_is_started_from_the_policy_named(engine: Engine, cast: Cast) -> None:
    with write_session(engine) as session:
        demo = session.get_one(Project, cast.demo)
        make_labels(session, demo, 30, cast.mary)
        tuned = factories.make_checkpoint(session, demo.id, parent_id=demo.policy_id).id
    cli.run_round(engine, arguments(cli.add_round_arguments, "demo", "--start", str(tuned)))
    with read_session(engine) as session:
        assert session.scalars(select(Round)).one().start_policy_id == tuned
