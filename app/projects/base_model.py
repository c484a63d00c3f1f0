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
from threading import Lock
from typing import Final

from app.errors import Invalid
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
_ONE_AT_A_TIME: Final = Lock()  # a model may fill the memory
_TOO_LONG: Final = N_("This model did not write two tokens within %(minutes)s minutes, so it cannot be used on this machine.")
_TOO_LARGE: Final = N_(
    "This model took more memory than a run may take here (%(gigabytes)s GiB), so it cannot be used on this machine."
)
_ENDED: Final = N_("The process that opened this model ended without a word; most often the memory did not suffice.")


def refuse_unusable(spec: str, limits: Limits) -> None:
    """Open the model in a process of its own, which may take the memory of a run. Raises Invalid with the reason at the field.

    To be called outside of any transaction: it takes seconds, or minutes where a hub id is fetched.
    """
    try:
        model = check_base_model(spec)
    except Unusable:
        return  # whoever stores the value says so, with all else that is wrong
    with _ONE_AT_A_TIME:
        problem = _problem_with(model, limits)
    if problem:
        raise Invalid(_("This base model cannot be used. Nothing was saved."), {"base_model": problem})


def _problem_with(model: str, limits: Limits) -> str:
    command = (sys.executable, "-m", "trainer.lm.check", model)
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    token = {name: value for name, value in os.environ.items() if name == TOKEN}  # to fetch what its owner may have
    environment = needed(os.environ) | token | {"PYTHONPATH": path}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True
    )
    try:
        output = _output_of(process, limits)
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


class _TookTooMuch(Exception):
    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


def _output_of(process: subprocess.Popen[str], limits: Limits) -> str:
    """What it has written when it ends. Raises _TookTooMuch, while it is still at work."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=LOOK_S)[0]
        if memory_of(process.pid) > limits.memory_bytes:
            raise _TookTooMuch(known(_TOO_LARGE) % {"gigabytes": number(limits.memory_bytes / GIB)})
        if time.monotonic() > end:
            raise _TookTooMuch(known(_TOO_LONG) % {"minutes": f"{PATIENCE_S / 60:.0f}"})


def _end(process: subprocess.Popen[str]) -> None:
    """With all that it started, where it is still at work."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
