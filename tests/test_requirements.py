"""The requirements files name what is imported, constraints.txt names all that comes with it, and that is what is installed."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
OURS: Final = {"app", "trainer", "bench", "tests"}
PROGRAM: Final = ("requirements.txt",)
ALL: Final = ("requirements.txt", "requirements-dev.txt")

# Imported only where somebody installed it, which README.md says.
OPTIONAL: Final = {"tensorboardX"}
# Imported in an environment of the peer's own, which bench/peer_trl.py makes, or whoever runs bench/quality.py names.
PEERS: Final = {"trl", "datasets", "arena_rank"}
# Imported by the nightly tests of a Ray cluster alone: requirements-ray.txt.
CLUSTER: Final = {"ray"}
# Required without being imported under their names.
LOADED_BY_OTHERS: Final = {
    "httptools": "uvicorn's parser of HTTP",
    "mypy": "`make lint`",
    "pre-commit": "runs `make lint` before a commit",
    "pytest-timeout": "pytest's `timeout`",
    "pytest-xdist": "pytest's `-n`",
    "python-multipart": "starlette's parser of forms",
    "ruff": "`make lint`",
    "types-psutil": "mypy's view of psutil",
    "uv": "`make lock`",
}


def pins(*files: str) -> dict[str, Requirement]:
    """What these files ask for, by canonical name."""
    found: dict[str, Requirement] = {}
    for file in files:
        for line in (ROOT / file).read_text("utf-8").splitlines():
            text = line.split(" #")[0].strip()
            if text and not text.startswith(("#", "-")):
                one = Requirement(text)
                found[canonicalize_name(one.name)] = one
    return found


def version(one: Requirement) -> str:
    (exact,) = one.specifier
    assert exact.operator == "==", one
    return exact.version


def imported(*folders: str) -> dict[str, str]:
    """Top-level module of somebody else's -> a file that imports it, anywhere in its text."""
    return {name: file for folder in folders for name, file in _imported(folder)}


@lru_cache
def _imported(folder: str) -> list[tuple[str, str]]:
    return [
        (name, str(path.relative_to(ROOT)))
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in _imports(ast.parse(path.read_text("utf-8")))
        if name not in sys.stdlib_module_names and name not in OURS
    ]


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@lru_cache
def packages_of_modules() -> Mapping[str, list[str]]:
    """Top-level module -> the packages that bring it."""
    return metadata.packages_distributions()


def undeclared(modules: dict[str, str], declared: dict[str, Requirement]) -> dict[str, str]:
    """Those modules of no declared package, each with a file that imports it."""
    brought_by = packages_of_modules()
    return {
        module: file
        for module, file in modules.items()
        if not {canonicalize_name(name) for name in brought_by.get(module, ())} & set(declared)
    }


@pytest.mark.parametrize(
    ("folders", "files", "elsewhere"),
    [(("app", "trainer", "migrations"), PROGRAM, OPTIONAL), (("bench", "tests"), ALL, PEERS | CLUSTER)],
    ids=["the program", "benches and tests"],
)
def test_every_package_that_is_imported_is_declared(
    folders: tuple[str, ...], files: tuple[str, ...], elsewhere: set[str]
) -> None:
    assert set(undeclared(imported(*folders), pins(*files))) == elsewhere & set(imported(*folders))


def test_every_package_that_is_declared_is_used() -> None:
    brought_by = packages_of_modules()
    used = {canonicalize_name(name) for module in imported(*OURS, "migrations") for name in brought_by.get(module, ())}
    assert set(pins(*ALL)) - used == set(LOADED_BY_OTHERS)


def test_the_lock_holds_every_requirement_at_its_version() -> None:
    """`make lock` after a change."""
    locked = pins("constraints.txt")
    for name, one in pins(*ALL).items():
        assert name in locked, name
        assert version(locked[name]) == version(one), name


def test_the_lock_is_plain_versions() -> None:
    for name, one in pins("constraints.txt").items():
        assert "+" not in version(one), name
        assert one.url is None
    assert "://" not in (ROOT / "constraints.txt").read_text("utf-8")


HASHED: Final = ("requirements.txt", "requirements-dev.txt", "requirements-model.txt", "requirements-audit.txt")
BUILDS: Final = re.compile(r"torch|triton|nvidia-.+|cuda-.+")  # of each index its own


@pytest.mark.parametrize("file", HASHED)
def test_every_file_of_requirements_has_its_hashes_at_the_locked_versions(file: str) -> None:
    """`make lock` after a change."""
    text = (ROOT / "locks" / file).read_text("utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all(" --hash=sha256:" in entry for entry in entries)
    hashed = {canonicalize_name(one.name): version(one) for one in (Requirement(entry.split(" --hash")[0]) for entry in entries)}
    asked = {name: version(one) for name, one in pins(file).items() if not BUILDS.fullmatch(name)}
    assert asked.items() <= hashed.items()
    if file in ALL:
        locked = {name: version(one) for name, one in pins("constraints.txt").items()}
        assert hashed.items() <= locked.items()
        assert {name for name in brought(pins(file)) if not BUILDS.fullmatch(name)} <= set(hashed)


def test_everything_that_the_requirements_bring_is_installed_at_the_locked_version() -> None:
    locked = {name: version(one) for name, one in pins("constraints.txt").items()}
    installed = {name: metadata.version(name).split("+")[0] for name in brought(pins(*ALL))}
    assert installed == {name: locked.get(name) for name in installed}


def brought(asked: dict[str, Requirement]) -> set[str]:
    """Those packages and, by what is installed says of itself, all that they need here. A missing one raises."""
    found: set[tuple[str, str]] = set()
    waiting = [(name, extra) for name, one in asked.items() for extra in ("", *one.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for text in metadata.requires(name) or ():
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(one.name), also) for also in ("", *one.extras)]
    return {name for name, _ in found}
