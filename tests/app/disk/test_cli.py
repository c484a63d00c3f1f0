"""`tastemaker prune`: what it shows is what it frees, and only where somebody said so."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from app.database.engine import write_session
from app.disk.cli import add_arguments, run
from app.errors import Invalid
from app.models import Project
from app.settings import Settings
from tests.app.conftest import Cast
from tests.app.disk.loop import make_round, octets
from tests.app.rounds.test_cli import arguments


@pytest.fixture
def filled(engine: Engine, settings: Settings, cast: Cast) -> int:
    """Bytes in the run folders of two rounds."""
    with write_session(engine) as session:
        project = session.get_one(Project, cast.demo)
        for number in (1, 2):
            make_round(session, project, settings.data, number, days_ago=20, promoted=False)
    return octets(settings.data)


def prune(engine: Engine, settings: Settings, *given: str) -> int:
    return run(engine, settings, arguments(add_arguments, *given))


def test_it_shows_what_it_would_free_and_frees_just_that(
    engine: Engine, settings: Settings, filled: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(engine, settings, "--older-than", "7") == 0
    shown = capsys.readouterr()
    assert "Nothing was removed" in shown.err
    assert octets(settings.data) == filled
    assert prune(engine, settings, "--older-than", "7", "--project", "demo", "--yes") == 0
    freed = filled - octets(settings.data)
    assert freed == 3 * 1000 + 2 * 300, "the newest reward stays"
    assert f"{freed:,}" in shown.out.splitlines()[-1]
    assert capsys.readouterr().out.endswith(f"Freed {freed:,} bytes.\n")


def test_without_days_it_takes_what_a_project_keeps_no_longer(
    engine: Engine, settings: Settings, cast: Cast, filled: int
) -> None:
    assert prune(engine, settings, "--yes") == 0
    assert octets(settings.data) == filled, "it keeps all for ever until somebody says otherwise"
    with write_session(engine) as session:
        session.get_one(Project, cast.demo).keep_days = 10
    assert prune(engine, settings, "--yes") == 0
    assert octets(settings.data) < filled


def test_a_number_of_days_that_is_none_is_refused(engine: Engine, settings: Settings, filled: int) -> None:
    with pytest.raises(Invalid):
        prune(engine, settings, "--older-than", "-1", "--yes")
    assert octets(settings.data) == filled
