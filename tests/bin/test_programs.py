from __future__ import annotations

import re

import pytest

from bench.browser import NAMES
from tests.bin.conftest import ROOT, Machine

OWN = {"TASTEMAKER_TEST_POSTGRES": "postgresql://here"}  # so that only the browser is asked for, whatever this machine has


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_of_any_name_is_enough(machine: Machine, name: str) -> None:
    machine.has(name, "")
    assert machine.run("bin/programs", **OWN).returncode == 0


def test_it_looks_for_the_names_that_the_tests_start_and_in_that_order() -> None:
    text = (ROOT / "bin" / "programs").read_text("utf-8")
    assert re.search(r"for name in ([a-z -]+); do", text)[1].split() == list(NAMES)  # type: ignore[index]


def test_without_apt_get_one_line_says_what_to_install(machine: Machine) -> None:
    done = machine.run("bin/programs", **OWN)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "missing here: chromium. Install them" in done.stderr


def test_who_may_not_install_is_told_the_command_in_one_line(machine: Machine) -> None:
    machine.has("apt-get", "exit 9")
    machine.has("id", "echo 1000")
    machine.has("sudo", "echo a password is required >&2; exit 1")
    done = machine.run("bin/programs", **OWN)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "sudo apt-get install chromium, then run this again" in done.stderr


@pytest.mark.parametrize("user", ["0", "1000"])
def test_who_may_install_gets_what_is_missing(machine: Machine, user: str) -> None:
    machine.has("id", f"echo {user}")
    machine.has("sudo", '[ "$1" != -n ] || shift; exec "$@"' if user == "1000" else "exit 9")
    machine.has("apt-get", f'echo "$@" >>{machine.folder}/asked')
    assert machine.run("bin/programs", **OWN).returncode == 0
    assert (machine.folder / "asked").read_text().splitlines() == [
        "-qq -o Dpkg::Use-Pty=0 update",
        "-qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends chromium",
    ]


def test_an_installation_that_fails_says_what_to_do(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", '[ "$4" = update ] || { echo "E: Unable to locate package" >&2; exit 100; }')
    done = machine.run("bin/programs", **OWN)
    assert done.returncode == 1
    assert "Unable to locate package" in done.stderr
    assert "Install them by hand" in done.stderr.splitlines()[-1]
