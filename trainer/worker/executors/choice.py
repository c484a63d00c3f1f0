"""Which executor an installation has, by its settings."""

from __future__ import annotations

from app.settings import Settings
from trainer.worker.executors.executor import Executor
from trainer.worker.executors.local import Local
from trainer.worker.executors.ray import Ray
from trainer.worker.executors.ray_jobs import Jobs


def executor_of(settings: Settings) -> Executor:
    """The one that TASTEMAKER_EXECUTOR names: `local` and `torchrun` differ in how many processes they may start."""
    if settings.executor == "ray":
        jobs = Jobs(settings.ray_address, settings.ray_token.get_secret_value())
        return Ray(jobs, settings.ray_resources, settings.processes)
    return Local(settings.processes)
