"""Rewards by name: the owner's addresses first, then installed packages, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.outside.reward_server import serving
from trainer.contract.english import english
from trainer.contract.folder import Refused
from trainer.outside.entry_point import Installed
from trainer.outside.opening import open_rewards

ASKED = [[{"role": "user", "content": "Hi"}]], ["banana"]


def test_names_are_looked_up_in_the_environment_and_among_packages(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as there:
        told = {"TASTEMAKER_REWARDS": f"tone={there.url} short={there.url}", "TASTEMAKER_REWARD_KEYS": "tone=k3y"}
        found = open_rewards(["even", "short", "tone"], told)
        assert list(found) == ["even", "short", "tone"]
        assert isinstance(found["even"], Installed)
        assert found["tone"](*ASKED, lambda: None) == [3.0]
        assert found["short"](*ASKED, lambda: None) == [3.0]  # the owner's address, not the package's -6
    assert [one.get("Authorization") for one in there.headers] == ["Bearer k3y", None]


def test_a_name_that_nobody_offers_is_refused_and_no_name_asks_nobody() -> None:
    assert open_rewards([], {"TASTEMAKER_REWARDS": "is never read"}) == {}
    with pytest.raises(Refused) as ended:
        open_rewards(["even"], {})
    assert english(ended.value.message) == (
        "Nobody offers a reward called even here. The owner names addresses in TASTEMAKER_REWARDS; "
        "installed packages offer others under tastemaker.rewards."
    )
