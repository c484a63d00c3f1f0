from __future__ import annotations

import pytest

from tests.bin.conftest import Machine

FOUND = """WARNING:pip_audit._cli:--no-deps is supported
Found 1 known vulnerability in 1 package
Name Version ID             Fix Versions
---- ------- -------------- ------------
idna 3.6     PYSEC-2024-60  3.7"""


def audit(machine: Machine, said: str, status: int) -> tuple[int, str, str]:
    """`bin/audit` where pip-audit says that and ends so."""
    program = machine.folder / ".venv" / "audit" / "bin" / "pip-audit"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{said}' >&2\nexit {status}\n")
    program.chmod(0o755)
    for name in ("grep", "tail"):
        machine.has(name, f'exec /usr/bin/{name} "$@"')
    done = machine.run("bin/audit")
    return done.returncode, done.stdout, done.stderr


def test_where_nothing_is_known_it_says_so(machine: Machine) -> None:
    assert audit(machine, "No known vulnerabilities found", 0) == (0, "No vulnerability is known in the locked versions.\n", "")


def test_what_is_known_is_shown(machine: Machine) -> None:
    status, shown, told = audit(machine, FOUND, 1)
    assert (status, told) == (1, "")
    assert shown == FOUND.partition("\n")[2] + "\n"


@pytest.mark.parametrize(
    "said", ["ERROR:pip_audit._cli:Could not connect to PyPI", "ERROR:pip_audit._cli:idna: Dependency not found on PyPI"]
)
def test_without_the_network_it_says_so_in_one_sentence_and_does_not_pass(machine: Machine, said: str) -> None:
    status, shown, told = audit(machine, f"WARNING:pip_audit._cli:--no-deps is supported\n{said}", 1)
    assert (status, shown) == (2, "")
    assert told == "It could not be found out, as that takes PyPI's answer over the network: " + said.split("cli:")[1] + "\n"
