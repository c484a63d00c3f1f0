"""Runs killed by SIGKILL go on bit for bit; `bench/resume.py` does so after every one of twenty steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.resume import KINDS, make_base, table


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "kill_after"),
    [("reward", (2, 5)), ("sft", (2,)), ("ppo", (2,)), ("ppo-ptx", (3,)), ("dpo", (2, 5)), ("dpo-ptx", (3,)), ("kto", (3,))],
)
def test_a_killed_run_ends_with_the_very_weights_of_an_undisturbed_one(
    tmp_path: Path, kind: str, kill_after: tuple[int, ...]
) -> None:
    """A kill comes before its own step is saved. Of a reward run, 2 is the second of the fold's adapters, 5 of the final ones."""
    whole, again, rows = table(tmp_path, make_base(tmp_path / "base"), kind, 6, kill_after)
    assert again == whole
    assert {digest for _, digest in rows} == {whole}


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_after_any_of_twenty_steps_ends_with_the_very_same_weights(tmp_path: Path, kind: str) -> None:
    whole, again, rows = table(tmp_path, make_base(tmp_path / "base"), kind, 20, range(1, 21))
    assert again == whole
    assert {digest for _, digest in rows} == {whole}
