"""Whether a base model can be used, found out before anybody labels answers of it: a process of the trainer's opens it and writes
two tokens. A model that cannot serve would otherwise be noticed at the first run, or after people have worked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Final

from app.errors import Invalid
from app.language.languages import N_, _, known
from app.language.run_messages import told
from app.models.values import Unusable
from app.projects.checks import check_base_model
from trainer.contract.environment import RAN_AWAY, TOKEN, needed, template_ran_away
from trainer.contract.messages import from_json

PATIENCE_S: Final = 180.0  # a large model takes its time to be read, and a hub id to be fetched
_ONE_AT_A_TIME: Final = Lock()  # a model may fill the memory
_TOO_LONG: Final = N_("This model did not write two tokens within %(minutes)s minutes, so it cannot be used on this machine.")
_ENDED: Final = N_("The process that opened this model ended without a word; most often the memory did not suffice.")


def refuse_unusable(spec: str) -> None:
    """Open the model in a process of its own. Raises Invalid with the reason at the field.

    To be called outside of any transaction: it takes seconds, or minutes where a hub id is fetched.
    """
    try:
        model = check_base_model(spec)
    except Unusable:
        return  # whoever stores the value says so, with all else that is wrong
    with _ONE_AT_A_TIME:
        problem = _problem_with(model)
    if problem:
        raise Invalid(_("This base model cannot be used. Nothing was saved."), {"base_model": problem})


def _problem_with(model: str) -> str:
    command = (sys.executable, "-m", "trainer.lm.check", model)
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    token = {name: value for name, value in os.environ.items() if name == TOKEN}  # to fetch what its owner may have
    environment = needed(os.environ) | token | {"PYTHONPATH": path}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return known(_TOO_LONG) % {"minutes": f"{PATIENCE_S / 60:.0f}"}
    if done.returncode == -RAN_AWAY:
        return told(template_ran_away())
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        found = {}
    if found.get("ok"):
        return ""
    return told(from_json(found["reason"])) if found.get("reason") else known(_ENDED)
