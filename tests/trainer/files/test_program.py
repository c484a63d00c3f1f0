from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.files import program
from trainer.files.program import code_version


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    code_version.cache_clear()
    yield
    code_version.cache_clear()


def test_a_clone_knows_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tastemaker"\nversion = "9.8.7"\n')
    assert code_version() == "9.8.7"

    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for command in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", "Begin")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    code_version.cache_clear()
    assert re.fullmatch(r"9\.8\.7 \(commit [0-9a-f]{12}\)", code_version())


def test_where_git_is_not_installed_the_version_has_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tastemaker"\nversion = "9.8.7"\n')
    (tmp_path / ".git").mkdir()
    assert code_version() == "9.8.7"  # git finds no clone there
    code_version.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version() == "9.8.7"
