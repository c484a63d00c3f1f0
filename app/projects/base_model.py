"""Whether a base model can be used, found out before anybody labels answers of it: a process of the trainer's opens it and writes
two tokens. A model that cannot serve would otherwise be noticed at the first run, or after people have worked.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Lock
from typing import Final

from app.errors import Invalid, Unavailable
from app.language.formats import number
from app.language.languages import N_, _, known
from app.language.run_messages import told
from app.models.values import Unusable
from app.projects.checks import check_base_model
from app.runs.limits import GIB, Limits, memory_of
from trainer.contract.environment import RAN_AWAY, TOKEN, needed, template_ran_away
from trainer.contract.messages import from_json

LOOK_S: Final = 0.5  # between two looks at what it takes, as at a run
PATIENCE_S: Final = 180.0  # a large model takes its time to be read, and a hub id to be fetched
_TOO_LONG: Final = N_("This model did not write two tokens within %(minutes)s minutes, so it cannot be used on this machine.")
_TOO_LARGE: Final = N_(
    "This model took more memory than a run may take here (%(gigabytes)s GiB), so it cannot be used on this machine."
)
_ENDED: Final = N_("The process that opened this model ended without a word; most often the memory did not suffice.")


class Looks:
    """Looks at models: one at a time, as each may fill the memory, and none any more once the process that asks is to end."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._one_at_a_time = Lock()
        self._end = Event()

    def refuse_unusable(self, spec: str) -> None:
        """Open the model in a process of its own, which may take the memory of a run.

        Raises Invalid with the reason at the field, and Unavailable once there are to be no more looks.
        To be called outside of any transaction: it takes seconds, or minutes where a hub id is fetched.
        """
        try:
            model = check_base_model(spec)
        except Unusable:
            return  # whoever stores the value says so, with all else that is wrong
        with self._one_at_a_time:
            problem = self._problem_with(model)
        if problem:
            raise Invalid(_("This base model cannot be used. Nothing was saved."), {"base_model": problem})

    def end(self) -> None:
        """End the look that is under way, and those that wait for it."""
        self._end.set()

    def _problem_with(self, model: str) -> str:
        process = _opening(model)
        try:
            output = self._output_of(process)
        except _TookTooMuch as took:
            return took.sentence
        finally:
            _end(process)
        if process.returncode == -RAN_AWAY:
            return told(template_ran_away())
        lines = output.strip().splitlines()
        try:
            found = json.loads(lines[-1]) if lines else {}
        except ValueError:
            found = {}
        if found.get("ok"):
            return ""
        return told(from_json(found["reason"])) if found.get("reason") else known(_ENDED)

    def _output_of(self, process: subprocess.Popen[str]) -> str:
        """What it has written when it ends. Raises _TookTooMuch or Unavailable, while it is still at work."""
        end = time.monotonic() + PATIENCE_S
        while not self._end.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=LOOK_S)[0]
            if memory_of(process.pid) > self._limits.memory_bytes:
                raise _TookTooMuch(known(_TOO_LARGE) % {"gigabytes": number(self._limits.memory_bytes / GIB)})
            if time.monotonic() > end:
                raise _TookTooMuch(known(_TOO_LONG) % {"minutes": f"{PATIENCE_S / 60:.0f}"})
        raise Unavailable(_("Tastemaker is being stopped here, so this model was not looked at. Nothing was saved."))


class _TookTooMuch(Exception):
    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def _opening(model: str) -> subprocess.Popen[str]:
    command = (sys.executable, "-m", "trainer.lm.check", model, str(os.getpid()))
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    token = {name: value for name, value in os.environ.items() if name == TOKEN}  # to fetch what its owner may have
    environment = needed(os.environ) | token | {"PYTHONPATH": path}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True
    )


def _end(process: subprocess.Popen[str]) -> None:
    """With all that it started, where it is still at work."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
