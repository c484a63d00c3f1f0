"""What the supervisor asks of whoever starts runs: start one, look at it, stop it, kill it, end what a dead worker left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from trainer.contract.messages import Message


class Work(Protocol):
    """A run that was started."""

    def poll(self) -> int | None:
        """The exit status of `python -m trainer`, negative for a signal; None while it runs."""

    def stop(self) -> None:
        """Ask it to save what it needs to resume and to end."""

    def kill(self) -> None: ...

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, or None when it still runs after so long."""

    def memory_bytes(self) -> int:
        """That it holds of this machine's memory for itself."""

    def waits_for(self) -> Message | None:
        """What keeps it from going on that is not its own doing, for a person to read."""


class Executor(Protocol):
    def start(self, kind: str, folder: Path, environment: Mapping[str, str]) -> Work:
        """`python -m trainer KIND FOLDER`, told this environment, what it prints going to the folder's log.txt."""

    def end_left_behind(self, folder: Path, grace_s: float) -> None:
        """Stop what a worker that died left at work in this folder, if anything, before the run is started once more."""
