"""Which executor the settings name. What they may say: tests/app/test_settings.py."""

from __future__ import annotations

from app.settings import Settings
from trainer.worker.executors.choice import executor_of
from trainer.worker.executors.local import Local


def test_local_and_torchrun_start_processes_here() -> None:
    assert isinstance(executor_of(Settings()), Local)
    several = executor_of(Settings(executor="torchrun", processes=3))
    assert isinstance(several, Local)
    assert several._processes == 3
