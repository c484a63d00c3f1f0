"""What is said of several rounds, and the picture of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.rounds import moves, picture, summary
from trainer.contract.folder import RunFolder


def line(number: int, wins: float, **more: Any) -> dict[str, Any]:
    figures = {"win_rate": wins, "win_rate_interval": [wins - 0.1, wins + 0.1], "promoted": True, "within_budgets": True}
    return {"round": number, "kl_from_start": 5.0, "kl_from_base": 5.0 * number, "seconds": 10, **figures, **more}


def run_folder(path: Path, kept: int, rows: list[tuple[float, float]]) -> RunFolder:
    path.mkdir()
    (path / "run.json").write_text(json.dumps({"kind": "ppo", "config": {"kl_target_nats": 6.0}, "inputs": {}}), encoding="utf-8")
    (path / "result.json").write_text(json.dumps({"updates": kept, "reason": {"code": "done"}}), encoding="utf-8")
    metrics = [
        {"step": step, "kl/exact_nats_per_answer": start, "kl/from_base_nats_per_answer": base}
        for step, (start, base) in enumerate(rows)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics), encoding="utf-8")
    return RunFolder(path)


def test_a_round_is_asked_about_the_update_that_it_kept(tmp_path: Path) -> None:
    rows = [(0.0, 14.0), (5.0, 18.0), (13.0, 31.0)]

    kept = moves(run_folder(tmp_path / "kept", 1, rows))

    assert (kept["kl_from_start"], kept["kl_from_base"], kept["within_budgets"]) == (5.0, 18.0, True)
    assert kept["budgets"] == {"target": 6.0, "stop": 12.0, "base": 30.0}


@pytest.mark.parametrize("moved", [(13.0, 20.0), (5.0, 31.0)])
def test_a_round_is_past_its_budgets_where_it_is_past_either(tmp_path: Path, moved: tuple[float, float]) -> None:
    assert not moves(run_folder(tmp_path / "far", 1, [(0.0, 0.0), moved]))["within_budgets"]


def test_the_summary_counts_rises_from_even_and_names_what_was_refused() -> None:
    said = summary([line(1, 0.7), line(2, 0.6), {"round": 3, "refused": "too old", "seconds": 1}, line(4, 0.8, promoted=False)])

    assert (said["rises"], said["promoted"], said["refused"], said["seconds"]) == (2, 2, ["too old"], 31)
    assert said["win_rates"] == [0.7, 0.6, 0.8]


def test_the_picture_has_a_point_for_each_round_that_ended_and_no_script() -> None:
    drawn = picture([line(1, 0.7), {"round": 2, "refused": "too old", "seconds": 1}, line(3, 0.8)], "hedging")

    tags = [str(one.tag).rpartition("}")[2] for one in ElementTree.fromstring(drawn).iter()]
    assert "script" not in tags
    assert tags.count("circle") == 3 + 4 + 3 + 3  # wins with the base's, the ends of their intervals, and both distances
    assert "hedging" in drawn
