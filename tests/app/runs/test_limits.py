"""What one run may take, and what it is seen to take; that a run is ended for it is seen in test_supervisor.py."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from app.runs.limits import GIB, Limits, limits_of, memory_of
from app.settings import Settings
from trainer.contract.environment import memory_bytes
from trainer.contract.messages import Message

HOLDS = """
import mmap, sys
file = open(sys.argv[1], "rb")
view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
read = sum(view[::4096])  # pages of a file, which the kernel may drop
held = bytearray(b"1") * (40 * 2**20)
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_process_and_its_children_hold_is_counted_and_pages_of_files_are_not(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(bytes(range(1, 256)) * (200 * 2**20 // 255))
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS!r}, sys.argv[1]])"
    process = subprocess.Popen([sys.executable, "-c", parent, str(weights)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    held = memory_of(process.pid)
    process.communicate()
    assert 40 * 2**20 < held < 120 * 2**20
    assert memory_of(process.pid) == 0


def test_the_first_limit_that_is_passed_is_told() -> None:
    most = Limits(memory_bytes=2 * GIB, time_s=3600)
    now = time.monotonic()
    assert most.exceeded(2 * GIB, now) is None
    assert most.exceeded(2 * GIB + 1, now) == Message("run_took_memory", gigabytes=2.0)
    assert most.exceeded(0, now - 3601) == Message("run_took_time", hours=1.0)


def test_without_a_setting_nine_tenths_of_the_memory_there_is_are_the_limit() -> None:
    assert limits_of(Settings(run_memory_gb=3.5, run_hours=2)) == Limits(3.5 * GIB, 7200)
    assert limits_of(Settings()).memory_bytes == 0.9 * memory_bytes()
