"""A reward that an installed package offers: `(prompts: list[list[dict]], answers: list[str]) -> list[float]`, under the group
`tastemaker.rewards`. It runs inside of the run's process, of which it is told no more than these texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from trainer.contract.folder import Unanswered
from trainer.contract.messages import Message
from trainer.outside.address import Conversation
from trainer.outside.scores import checked


class Installed:
    """One entry point, loaded."""

    def __init__(self, found: EntryPoint) -> None:
        self._name = found.name
        try:
            self._score: Any = found.load()
        except Exception as error:
            raise Unanswered(self._failed(error)) from error
        if not callable(self._score):
            raise Unanswered(self._failed(TypeError(f"{found.value} cannot be called")))

    def __call__(self, prompts: Sequence[Conversation], answers: Sequence[str], check: Callable[[], None]) -> list[float]:
        """Scores in the order of the answers. Raises Unanswered, and what `check` raises where the run is to stop."""
        check()
        try:
            given = self._score([[dict(message) for message in prompt] for prompt in prompts], list(answers))
        except Exception as error:
            raise Unanswered(self._failed(error)) from error
        return checked(self._name, given, len(answers))

    def _failed(self, error: Exception) -> Message:
        return Message("outside_failed", name=self._name, error=f"{type(error).__name__}: {error}")
