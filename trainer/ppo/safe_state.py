"""Where a PPO run can go back to: the newest policy that the guards let pass, and the newest checkpoint on disk.

A policy is known to be safe only once its own rollout was measured, an update after it was made: so what is kept is the state
at the start of that update. Knows no rollout, no guard and no reward.
"""

from __future__ import annotations

from pathlib import Path

from trainer.contract.folder import Refused
from trainer.contract.messages import Message
from trainer.ppo.learner import Learner, keep

ROLLBACKS_TO_GIVE_UP = 3


class SafeState:
    """The states of one learner. `folder` holds the newest checkpoint; one is written every so many updates."""

    def __init__(self, folder: Path, learner: Learner, every: int) -> None:
        self.folder = folder
        self.learner = learner
        self.every = every
        self.take()

    def take(self) -> None:
        """Call the learner as it is now safe, and the point to fall back to."""
        self._before = self._safe = self._saved = self.learner.snapshot()

    def begin_update(self) -> None:
        """Remember the learner as it is before this update."""
        self._before = self.learner.snapshot()

    def passed(self) -> None:
        """The policy that began this update is safe; every so often that is kept on disk."""
        self._safe = self._before
        if self.learner.update % self.every == 0:
            self._saved = self._safe
            keep(self.folder, self._saved)

    def keep(self) -> None:
        """Write the newest safe state to disk: a cancelled run goes on from there."""
        keep(self.folder, self._safe)

    def restore(self) -> None:
        """Make the learner what it was at the newest safe state."""
        self.learner.restore(self._safe)

    def roll_back(self) -> None:
        """Return to the last checkpoint with half the learning rate, and keep that: a cancel must not undo it.

        Raises Refused when that has been tried often enough.
        """
        learner = self.learner
        rollbacks, rate_scale = learner.rollbacks + 1, learner.rate_scale / 2
        if rollbacks > ROLLBACKS_TO_GIVE_UP:
            raise Refused(Message("left_the_numbers", times=rollbacks, setting="ppo.learning_rate"))
        learner.restore(self._saved)
        learner.rollbacks, learner.rate_scale, learner.bad_steps = rollbacks, rate_scale, 0
        self.take()
        self.keep()
