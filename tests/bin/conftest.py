"""The scripts of bin/ in a folder of their own, on a machine that has only what a test puts there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASICS = ("bash", "cat", "cmp", "cp", "dirname", "env", "readlink", "rm", "true")


class Machine(NamedTuple):
    folder: Path  # a clone, as far as bin/ and the requirements go
    programs: Path  # all that can be found by name

    def has(self, name: str, script: str) -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": str(self.programs), "HOME": str(self.folder), **environment}
        script = str(self.folder / command[0])
        return subprocess.run([script, *command[1:]], env=given, capture_output=True, text=True, timeout=60)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "clone", tmp_path / "programs")
    shutil.copytree(ROOT / "bin", machine.folder / "bin")
    for file in ROOT.glob("*.txt"):
        shutil.copy(file, machine.folder)
    shutil.copytree(ROOT / "locks", machine.folder / "locks")
    machine.programs.mkdir()
    for name in BASICS:
        found = shutil.which(name)
        assert found, name
        os.symlink(found, machine.programs / name)
    return machine
