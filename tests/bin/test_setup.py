from __future__ import annotations

from tests.bin.conftest import Machine


def test_the_tests_set_up_nothing_where_programs_are_missing_and_may_not_be_installed(machine: Machine) -> None:
    machine.has("python3", "exit 0")
    done = machine.run("bin/setup", "test")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "missing here: chromium" in done.stderr
    assert not (machine.folder / ".venv").exists()


def test_without_a_python_that_is_new_enough_one_line_says_so(machine: Machine) -> None:
    machine.has("python3", "exit 1")
    done = machine.run("bin/setup", "run")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Python 3.11 or newer" in done.stderr


# An environment whose Python writes down what it is asked.
ENVIRONMENT = """
if [ "$1" = -m ] && [ "$2" = venv ]; then mkdir -p .venv/bin; cp "$0" .venv/bin/python; fi
[ "$2" != pip ] || echo "$@" >>asked
"""


def installed(machine: Machine) -> list[str]:
    asked = machine.folder / "asked"
    lines = asked.read_text().splitlines() if asked.exists() else []
    asked.unlink(missing_ok=True)
    return [line.partition(" -r ")[2] for line in lines]


def test_requirements_are_installed_once_at_the_locked_versions_and_again_when_the_lock_changed(machine: Machine) -> None:
    machine.has("mkdir", 'exec /bin/mkdir "$@"')
    machine.has("python3", ENVIRONMENT)
    assert machine.run("bin/setup", "dev").returncode == 0
    everything = [f"requirements{part}.txt -c constraints.txt" for part in ("", "-model", "-dev")]
    assert installed(machine) == everything
    assert machine.run("bin/setup", "dev").returncode == 0
    assert installed(machine) == []
    with (machine.folder / "constraints.txt").open("a") as lock:
        lock.write("another==1.0\n")
    assert machine.run("bin/setup", "dev").returncode == 0
    assert installed(machine) == everything
