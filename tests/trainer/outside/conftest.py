"""A package that offers rewards, and an address that the owner named, for as long as a test lasts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import get_settings
from tests.trainer.outside.installed_reward import install
from trainer.contract.environment import installed_rewards


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    installed_rewards.cache_clear()
    yield folder
    installed_rewards.cache_clear()
    sys.modules.pop("rewards_of_somebody", None)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`tone`, as this process's settings have it."""
    monkeypatch.setenv("TASTEMAKER_REWARDS", "tone=https://tone.example.org/score")
    monkeypatch.setenv("TASTEMAKER_REWARD_KEYS", "tone=s3cret")
    get_settings.cache_clear()
    yield "tone"
    get_settings.cache_clear()
