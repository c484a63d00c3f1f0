from __future__ import annotations

from pathlib import Path

import pytest

from tests.changed import ALWAYS, to_run


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for path in (
        "app/labels/test_record.py",
        "app/labels/test_verdict.py",
        "app/database/test_upgrade.py",
        "app/language/test_translations.py",
        "app/test_start.py",
        "trainer/ppo/test_losses.py",
        "docs/test_readme.py",
        "journeys/test_round.py",
        "bin/test_setup.py",
        "test_requirements.py",
    ):
        (tmp_path / "tests" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / path).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("app/labels/record.py", "app/labels/test_record.py"),
        ("trainer/ppo/losses.py", "trainer/ppo/test_losses.py"),
        ("bin/setup", "bin/test_setup.py"),
        ("app/labels/no_test_of_its_own.py", "app/labels"),
        ("app/a_new_room/record.py", "app"),
        ("tests/app/labels/test_record.py", "app/labels/test_record.py"),
        ("tests/app/labels/judged.py", "app/labels"),
        ("templates/labels/list.html", "app/labels"),
        ("templates/base.html", "journeys"),
        ("static/js/next.js", "journeys"),
        ("migrations/versions/2026_12_01_more.py", "app/database/test_upgrade.py"),
        ("locales/zh-Hant.po", "app/language/test_translations.py"),
        ("constraints.txt", "test_requirements.py"),
        ("README.md", "docs"),
        ("docs/math.md", "docs"),
        ("Makefile", "docs"),
        (".ci/run", "docs"),
    ],
)
def test_a_changed_file_has_its_tests(clone: Path, path: str, expected: str) -> None:
    assert set(to_run([path], clone)) == {ALWAYS, f"tests/{expected}"}


def test_the_walls_are_always_tested_and_nothing_twice(clone: Path) -> None:
    assert to_run([], clone) == [ALWAYS]
    assert to_run(["tests/changed.py"], clone) == [ALWAYS]
    assert to_run(["app/labels/record.py", "app/labels/new.py"], clone) == ["tests/app/labels", ALWAYS]
