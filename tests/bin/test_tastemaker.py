from __future__ import annotations

from tests.bin.conftest import Machine


def test_before_the_set_up_one_sentence_says_what_to_run(machine: Machine) -> None:
    done = machine.run("bin/tastemaker", "up")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "run `make run`" in done.stderr
