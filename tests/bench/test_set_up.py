from __future__ import annotations

import re
import subprocess
import sys

import pytest

from bench import BESIDE_THE_PROGRAM
from bench.installation import ROOT
from tests.test_requirements import OPTIONAL, PEERS, PROGRAM, imported, pins, undeclared


@pytest.mark.parametrize("script", ["annotator.py", "crash_worker.py", "fuzz.py", "grown.py", "loop.py", "queue.py"])
def test_after_make_run_alone_a_script_says_in_one_line_what_to_run(script: str) -> None:
    absent = f"import sys, runpy; sys.modules |= dict.fromkeys({BESIDE_THE_PROGRAM});"
    code = f"{absent} runpy.run_path('bench/{script}', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "The benches need a few packages more than `make run` installs: run `make bench-setup` once.\n"


def test_that_line_is_about_every_package_that_make_run_does_not_install() -> None:
    assert set(undeclared(imported("bench"), pins(*PROGRAM))) - OPTIONAL - PEERS == set(BESIDE_THE_PROGRAM)


def test_no_script_reaches_for_one_of_them_before_that_line() -> None:
    for script in (ROOT / "bench").glob("*.py"):
        text = script.read_text("utf-8")
        if "__main__" in text:
            before = text.partition('\n    __import__("bench")')[0]
            assert not re.findall(rf"^(?:from|import) (?:{'|'.join(BESIDE_THE_PROGRAM)})\b", before, re.M), script.name
