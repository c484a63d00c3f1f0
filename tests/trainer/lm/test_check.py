"""Whether a model can serve as a base, asked before anybody labels its answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.trainer.lm.test_chat_template import TOO_LONG
from trainer.lm.check import main, problem_with


def test_a_whole_model_has_no_problem(llama_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(llama_folder)]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "reason": None}


def test_a_small_lstm_may_be_a_base(simple_lm_folder: Path) -> None:
    assert problem_with(str(simple_lm_folder)) is None


def test_what_is_no_model_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert found["reason"]["code"]


def test_a_template_that_runs_away_is_the_models_problem(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    (folder / "chat_template.jinja").write_text(TOO_LONG)
    problem = problem_with(str(folder))
    assert problem is not None
    assert problem.code == "template_runs_away"
