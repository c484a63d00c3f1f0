"""Wall 2: a room may call another room's service, never its routes; no circle of modules and no circle of rooms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.house.imports import MACHINERY, Import, imports_of, is_edge, room_of

DOORS = ("routes", "api", "cli")  # of a room: what nobody but app/main.py and app/cli.py may open


def rooms_that_enter_by_the_window(root: Path) -> list[str]:
    """Another room's pages and calls are nobody's but its own; its forms and bodies are for the web side of rooms alone."""
    found = []
    for one in imports_of(root, "app"):
        parts = one.module.split(".")
        theirs = parts[1] if len(parts) > 2 and parts[0] == "app" and parts[1] not in MACHINERY else None
        mine = room_of(one.path)
        if not mine or not theirs or theirs == mine:
            continue
        if _is_door(parts[2]) or (is_edge(parts[2]) and not is_edge(one.path.stem)):
            found.append(str(one))
    return found


def _is_door(name: str) -> bool:
    return name in DOORS or any(name.endswith("_" + door) for door in DOORS)


def circles(root: Path) -> list[str]:
    """Circles between modules: two files that need each other have no order in which to be read."""
    modules = {_module(path.relative_to(root)) for folder in ("app", "trainer") for path in (root / folder).rglob("*.py")}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for one, target in _edges(root, modules):
        graph[_module(one.path)].add(target)
    return [" -> ".join(circle) for circle in _circles_in(graph)]


def circles_of_rooms(root: Path) -> list[str]:
    """Circles between rooms, and between a room and a door: what stands on what is one order for the whole house."""
    modules = {_module(path.relative_to(root)) for folder in ("app", "trainer") for path in (root / folder).rglob("*.py")}
    graph: dict[str, set[str]] = {_room(module): set() for module in modules}
    for one, target in _edges(root, modules):
        if _room(target) != _room(_module(one.path)):
            graph[_room(_module(one.path))].add(_room(target))
    return [" -> ".join(circle) for circle in _circles_in(graph)]


def _edges(root: Path, modules: set[str]) -> Iterator[tuple[Import, str]]:
    for one in imports_of(root, "app", "trainer"):
        target = one.module if one.module in modules else one.module.rpartition(".")[0]
        if target in modules and target != _module(one.path):
            yield one, target


def _room(module: str) -> str:
    """app.labels.record -> app.labels; a door is a room of its own."""
    return ".".join(module.split(".")[:2])


def _module(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _circles_in(graph: dict[str, set[str]]) -> list[list[str]]:
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append([*trail[trail.index(module) :], module])
            return
        if module in done:
            return
        for target in sorted(graph[module]):
            visit(target, [*trail, module])
        done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found
