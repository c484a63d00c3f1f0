"""Which executor an installation has, by its settings."""

from __future__ import annotations

from app.settings import Settings
from trainer.worker.executors.executor import Executor
from trainer.worker.executors.local import Local


def executor_of(settings: Settings) -> Executor:
    """The one that TASTEMAKER_EXECUTOR names: `local` and `torchrun` differ in how many processes they may start."""
    return Local(settings.processes)
