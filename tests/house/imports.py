"""Who imports what, and which room a file stands in: read from the source, so that an import hidden in a function counts too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What every room stands on; the rooms of the product are the others.
MACHINERY = ("web", "database", "language", "texts", "models")
EDGES = ("routes", "api", "forms", "bodies", "dependencies", "task_requests")  # of a room: its web side


@dataclass(frozen=True)
class Import:
    """One import: the importing file, the dotted module (and name) it takes, and the line."""

    path: Path
    module: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def imports_of(root: Path, *folders: str) -> Iterator[Import]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            short = path.relative_to(root)
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        yield Import(short, alias.name, node.lineno)
                elif isinstance(node, ast.ImportFrom):
                    base = _absolute(node, short)
                    for alias in node.names:
                        yield Import(short, f"{base}.{alias.name}", node.lineno)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    package = list(path.parent.parts)[: len(path.parent.parts) - node.level + 1] if node.level else []
    return ".".join([*package, *([node.module] if node.module else [])])


def inside(module: str, *names: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def room_of(path: Path) -> str | None:
    return path.parts[1] if path.parts[0] == "app" and len(path.parts) > 2 and path.parts[1] not in MACHINERY else None


def is_edge(name: str) -> bool:
    """Whether a file of a room (by its name without .py) belongs to its web side: routes.py, label_routes.py, api.py, ..."""
    return name in EDGES or any(name.endswith("_" + edge) for edge in EDGES)
