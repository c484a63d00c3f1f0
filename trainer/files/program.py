"""Which program this is: its version, and the commit where it runs from a clone."""

from __future__ import annotations

import subprocess
import tomllib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]


@lru_cache
def code_version() -> str:
    """The version of this program, and its commit where it runs from a clone."""
    if not (ROOT / "pyproject.toml").exists():
        return metadata.version("tastemaker")
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = str(tomllib.load(file)["project"]["version"])
    commit = _commit() if (ROOT / ".git").exists() else None
    return f"{version} (commit {commit})" if commit else version


def _commit() -> str | None:
    """None where git is not installed, or does not say."""
    try:
        told = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return told.stdout.strip() if told.returncode == 0 else None
