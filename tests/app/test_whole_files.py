"""Partial files never stay: whatever writes a file either ends with all of it in its place, or leaves nothing.

Every place that writes is in `WRITERS`, with the reason why a half of what it writes is never taken for the whole.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import torch
from safetensors import SafetensorError
from sqlalchemy import Engine

from app.database.backup import back_up
from app.database.engine import write_session
from app.errors import Unavailable
from app.exports import cli as exports
from app.models import Project
from app.projects.service import get_project
from app.rounds.service import queue_run
from app.runs.run_files import save_text
from app.settings import Settings
from tests.app import factories
from tests.app.conftest import Cast
from tests.app.exports.judging import judge
from tests.failing_disk import full_disk
from trainer.contract.folder import A_PAGE, forget_unfinished, write_atomic
from trainer.files import checkpoint
from trainer.worker import freeze

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT: Final = "The sky is blue. " * 10_000
ROOM: Final = 8_192  # bytes; each of the places below writes more

# The file -> why no half of what it writes is taken for the whole.
WHOLE: Final = "beside its place, renamed when it is on the disk"
FOLDER: Final = "into a folder that is put into its place whole, hashes last"
FROZEN: Final = "into a folder that is put into its place whole, run.json last"
LINES: Final = "appended line by line; readers leave a last line out that is not whole"
EMPTY: Final = "an empty file that is locked"
NAMELESS: Final = "a file without a name, for a process of ours to read"
WRITERS: Final = {
    "app/database/upgrade.py": EMPTY,
    "app/exports/cli.py": WHOLE,
    "app/prompts/lengths.py": NAMELESS,
    "app/language/catalogues.py": "by hand, into files that are in git",
    "app/runs/checkpoint_cli.py": "into a temporary folder",
    "app/runs/lineage/label_index.py": FROZEN,
    "app/runs/run_files.py": WHOLE,
    "app/start.py": WHOLE,
    "trainer/__main__.py": EMPTY,
    "trainer/contract/environment.py": "a setting of the kernel's",
    "trainer/contract/folder.py": f"{WHOLE}; rows of samples: {LINES}; a page: a file without a name",
    "trainer/export/run.py": FOLDER,
    "trainer/files/card.py": FOLDER,
    "trainer/files/checkpoint.py": FOLDER,
    "trainer/files/metrics.py": LINES,
    "trainer/lm/loading.py": FOLDER,
    "trainer/reward/adapter.py": FOLDER,
    "trainer/reward/features.py": WHOLE,
    "trainer/reward/head_files.py": FOLDER,
    "trainer/worker/claim.py": EMPTY,
    "trainer/worker/executors/command.py": EMPTY,
    "trainer/worker/executors/local.py": "the log of a run",
    "trainer/worker/executors/ray.py": "the log of a run",
    "trainer/worker/freeze.py": FROZEN,
    "trainer/worker/label_files.py": FROZEN,
    "trainer/worker/prompt_lengths.py": NAMELESS,
    "trainer/worker/run_inputs.py": FROZEN,
    "trainer/worker/warm.py": f"{EMPTY}; the log of a process",
}
WRITING: Final = {"write_text", "write_bytes", "save_file", "save_pretrained", "copyfile", "copy2", "copytree", "TemporaryFile"}


def test_every_place_that_writes_a_file_is_known() -> None:
    found = {str(path.relative_to(ROOT)) for room in ("app", "trainer") for path in (ROOT / room).rglob("*.py") if _writes(path)}
    assert found == set(WRITERS)


def _writes(path: Path) -> bool:
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return any(_name(call) in WRITING or (_name(call) == "open" and _to_write(call)) for call in calls)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _to_write(call: ast.Call) -> bool:
    """Whether it opens a file with a mode that writes, or that is only known when it runs."""
    modes = [argument for argument in call.args if not isinstance(argument, ast.Constant) or isinstance(argument.value, str)]
    return any((isinstance(mode, ast.Name) and mode.id == "mode") or _is_mode(mode) for mode in modes)


def _is_mode(argument: ast.expr) -> bool:
    mode = argument.value if isinstance(argument, ast.Constant) else None
    return isinstance(mode, str) and 0 < len(mode) <= 3 and not {"w", "a", "x"}.isdisjoint(mode)


# Each of them on a disk that is full


def _text(folder: Path) -> None:
    save_text(folder, "demo", "tales.txt", TEXT.encode())


def _atomic(folder: Path) -> None:
    write_atomic(folder / "run.json", TEXT)


def _checkpoint(folder: Path) -> None:
    checkpoint.save(folder / "checkpoint", lambda inner: _fill(inner / "weights"), {"kind": "policy"})


def _state(folder: Path) -> None:
    checkpoint.save_state(folder / "state", 3, {"weights": torch.zeros(10_000)})


def _fill(path: Path) -> None:
    path.write_text(TEXT, encoding="utf-8")


PLACES: Final[list[Callable[[Path], None]]] = [_text, _atomic, _checkpoint, _state]


@pytest.mark.parametrize("write", PLACES, ids=lambda write: write.__name__)
def test_a_full_disk_leaves_nothing_of_a_file(write: Callable[[Path], None], tmp_path: Path) -> None:
    with full_disk(ROOM), pytest.raises((OSError, SafetensorError)):
        write(tmp_path)
    assert files(tmp_path) == {}
    write(tmp_path)  # and where there is room again, it goes well
    assert files(tmp_path)


@pytest.mark.parametrize("write", [_atomic, _checkpoint], ids=lambda write: write.__name__)
def test_what_cannot_be_replaced_stays(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    before = files(tmp_path)
    with full_disk(ROOM), pytest.raises(OSError):
        write(tmp_path)
    assert files(tmp_path) == before


def test_a_backup_for_which_there_is_no_room_is_not_there(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "letter").write_text("Dear Ada")
    with full_disk(A_PAGE - 1), pytest.raises(Unavailable) as refused:
        back_up(settings.url, tmp_path / "copies" / "tonight.db")
    assert "could not be copied" in refused.value.detail
    assert "there is no room left for it" in refused.value.detail
    assert "I/O" not in refused.value.detail
    assert files(tmp_path / "copies") == {"letter": b"Dear Ada"}


def test_an_export_for_which_there_is_no_room_is_not_there(engine: Engine, project: Project, cast: Cast, tmp_path: Path) -> None:
    with write_session(engine) as session:
        for _ in range(40):
            judge(session, project, cast.mary, choice="left", comment="Because it is true. " * 20)
    (tmp_path / "out").mkdir()
    parser = argparse.ArgumentParser()
    exports.add_arguments(parser)
    with full_disk(ROOM), pytest.raises(OSError):
        exports.run(engine, parser.parse_args(["demo", "--format", "labels", "--out", str(tmp_path / "out" / "labels.jsonl")]))
    assert files(tmp_path / "out") == {}


def test_a_run_for_which_there_is_no_room_leaves_no_folder(engine: Engine, project: Project, settings: Settings) -> None:
    with write_session(engine) as session:
        factories.make_prompt(session, project.id, TEXT)
        run_id = queue_run(session, get_project(session, "demo"), "sample", {}, {"checkpoint": project.policy_id}, None).id
    with full_disk(ROOM), pytest.raises(OSError):
        freeze.prepare(engine, settings, run_id)
    assert files(settings.runs) == {}
    assert freeze.prepare(engine, settings, run_id).written


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    for name in ("a.json.17.tmp", "b.json"):
        (tmp_path / name).write_text("half")
    (tmp_path / "checkpoint.tmp" / "inner").mkdir(parents=True)
    forget_unfinished(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    forget_unfinished(tmp_path, silent_s=0)
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
