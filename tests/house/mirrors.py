"""Wall 7: every module has its row in docs/architecture.md, and its mirror in tests/ or a stated reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.tested_elsewhere import TESTED_ELSEWHERE

MOST_MODULES = 14  # in one folder, so that a look at it tells what is there


def modules_without_a_row(root: Path) -> list[str]:
    page = (root / "docs" / "architecture.md").read_text("utf-8") if (root / "docs" / "architecture.md").exists() else ""
    rows = {heading: set(re.findall(r"^\| `([\w.]+)`", text, re.M)) for heading, text in _sections(page)}
    return [
        f"{path} has no row in docs/architecture.md"
        for path in _modules(root)
        if path.name not in rows.get(path.parent.as_posix() + "/", ())
    ]


def rows_without_a_module(root: Path) -> list[str]:
    page = (root / "docs" / "architecture.md").read_text("utf-8") if (root / "docs" / "architecture.md").exists() else ""
    return [
        f"docs/architecture.md tells of {heading}{name}, which is not there"
        for heading, text in _sections(page)
        for name in re.findall(r"^\| `([\w.]+\.py)`", text, re.M)
        if not (root / heading / name).is_file()
    ]


def _sections(page: str) -> Iterator[tuple[str, str]]:
    """(folder, text) of each section about a folder."""
    parts = re.split(r"^### `([\w/]+/)`.*$", page, flags=re.M)
    yield from zip(parts[1::2], (part.split("\n## ")[0] for part in parts[2::2]), strict=True)


def _modules(root: Path) -> list[Path]:
    """Every module but the `__init__.py` of rooms, which are the rooms' own descriptions."""
    found = [path for folder in ("app", "trainer") for path in sorted((root / folder).rglob("*.py"))]
    return [path.relative_to(root) for path in found if path.name != "__init__.py"]


def modules_without_a_mirror(root: Path) -> list[str]:
    found = []
    for path in _modules(root):
        mirror = Path("tests") / path.parent / f"test_{path.stem.strip('_')}.py"
        elsewhere = TESTED_ELSEWHERE.get(path.as_posix())
        if not (root / mirror).is_file() and not (elsewhere and (root / "tests" / elsewhere).is_file()):
            found.append(f"{path} has neither {mirror} nor a file named in TESTED_ELSEWHERE")
    return found


def modules_told_of_that_are_not_there(root: Path) -> list[str]:
    """A docstring or a comment that names a module (`label_rows.py`, trainer/lm/loading.py, `trainer.lm.loading`) speaks of one
    that is there.
    """
    paths = _modules(root)
    names = {path.name for path in paths} | {"__init__.py"}
    dotted = {".".join(path.with_suffix("").parts) for path in paths} | {".".join(path.parent.parts) for path in paths}
    found = []
    for path in paths:
        text = (root / path).read_text("utf-8")
        told = set(re.findall(r"(?<![\w.*/{}-])(?:(?:app|trainer)/(?:\w+/)*)?[a-z]\w*\.py\b", text))
        gone = {file for file in told if ("/" in file or file not in names) and not (root / file).is_file()}
        spoken = set(re.findall(r"`((?:app|trainer)(?:\.[a-z_]+)+)(?:\.[A-Z]\w*)?`", text))
        gone |= {module for module in spoken if module not in dotted and module.rpartition(".")[0] not in dotted}
        found += [f"{path} tells of {name}, which is not there" for name in sorted(gone)]
    return found


def crowded_rooms(root: Path) -> list[str]:
    counts: dict[str, int] = {}
    for path in _modules(root):
        counts[path.parent.as_posix()] = counts.get(path.parent.as_posix(), 0) + 1
    return [f"{folder} holds {count} modules" for folder, count in counts.items() if count > MOST_MODULES]


def rooms_without_a_word(root: Path) -> list[str]:
    """A room says what it owns and what it refuses to know, in the docstring of its `__init__.py`."""
    found = []
    for folder in sorted({path.parent for path in _modules(root)}):
        init = root / folder / "__init__.py"
        if not init.exists() or len((ast.get_docstring(ast.parse(init.read_text("utf-8"))) or "").split("\n\n")) < 2:
            found.append(f"{folder}/__init__.py does not say what the room owns and what it refuses to know")
    return found
