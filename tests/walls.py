"""The walls between the rooms (docs/architecture.md), each shown to fall when it is breached; tests/house/ finds the breaches."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house.breaches import ALLOWED, BREACHES
from tests.house.circles import circles, circles_of_rooms, rooms_that_enter_by_the_window
from tests.house.layers import (
    app_files_that_compute,
    app_files_that_know_the_trainer,
    rewards_that_ppo_tells_apart,
    services_that_know_status_numbers,
    services_that_know_the_web,
    trainer_files_that_know_the_app,
    trainer_rooms_that_know_too_much,
)
from tests.house.mirrors import (
    crowded_rooms,
    modules_told_of_that_are_not_there,
    modules_without_a_mirror,
    modules_without_a_row,
    rooms_without_a_word,
    rows_without_a_module,
)
from tests.house.patterns import dangerous_calls, devices_named_elsewhere, templates_that_reach_out, writers_of_the_audit_trail

ROOT = Path(__file__).resolve().parent.parent

START_CPU_S = 4.0  # of `import app.main`, on a machine that also runs other tests; bench/RESULTS.md says what an idle one takes
START_MODULES = 1220  # our own and those of libraries, a few more than there are: one more library is seen

WALLS = [
    services_that_know_the_web,
    services_that_know_status_numbers,
    rooms_that_enter_by_the_window,
    circles,
    circles_of_rooms,
    app_files_that_know_the_trainer,
    app_files_that_compute,
    trainer_files_that_know_the_app,
    trainer_rooms_that_know_too_much,
    rewards_that_ppo_tells_apart,
    templates_that_reach_out,
    modules_without_a_row,
    rows_without_a_module,
    modules_without_a_mirror,
    modules_told_of_that_are_not_there,
    crowded_rooms,
    rooms_without_a_word,
    dangerous_calls,
    devices_named_elsewhere,
    writers_of_the_audit_trail,
]


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.__name__)
def test_the_wall_stands(wall) -> None:  # type: ignore[no-untyped-def]
    assert wall(ROOT) == []


# Each wall falls when it is breached


@pytest.mark.parametrize(
    ("wall", "files"), BREACHES, ids=lambda given: given.__name__ if callable(given) else " ".join(list(given)[:2])
)
def test_a_breach_is_seen(wall, files: dict[str, str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for folder in ("app", "trainer", "templates", "static"):
        (tmp_path / folder).mkdir()
    assert wall(tmp_path) == []
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert len(wall(tmp_path)) == 1


def test_what_is_allowed_is_not_called_a_breach(tmp_path: Path) -> None:
    allowed = dict(ALLOWED)
    for name in [path for path in allowed if path.endswith(".py")]:
        folder, file = name.rsplit("/", 1)
        allowed[f"tests/{folder}/test_{file}"] = ""
        allowed[f"{folder}/__init__.py"] = '"""What it owns.\n\nWhat it refuses to know.\n"""\n'
        row = f"### `{folder}/`\n\n| `{file}` | says |\n"
        page = allowed.get("docs/architecture.md", "")
        allowed["docs/architecture.md"] = page.replace(f"### `{folder}/`\n\n", row) if f"`{folder}/`" in page else page + row
    for name, text in allowed.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert {wall.__name__: wall(tmp_path) for wall in WALLS if wall(tmp_path)} == {}


# Types are looked at everywhere


def test_mypy_reads_every_folder_that_has_python() -> None:
    made = {"build", "data", "dist"}  # by who works here
    folders = {path.relative_to(ROOT).parts[0] for path in ROOT.glob("[!.]*/**/*.py")} - made
    assert folders == set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]["files"])


# The web process starts light


def test_the_web_process_starts_quickly_without_torch_and_with_one_sqlite() -> None:
    """In subprocesses, because this one may have loaded anything. The best of three, because others use the processor, too."""
    heavy = "{'torch', 'transformers', 'peft', 'numpy', 'scipy', 'sqlite3', '_sqlite3', 'alembic'}"
    code = f"import sys, time; import app.main; print(len(sys.modules), time.process_time(), *sorted({heavy} & set(sys.modules)))"
    seconds = []
    for _ in range(3):
        told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        modules, cpu_s, *loaded = told.stdout.split()
        assert loaded == []
        assert int(modules) < START_MODULES
        seconds.append(float(cpu_s))
    assert min(seconds) < START_CPU_S


def test_the_check_for_heavy_modules_sees_them() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, sqlite3; print('sqlite3' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "True"
