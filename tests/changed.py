"""The tests of what changed, for `make fast`: `python -m tests.changed [SINCE]` prints their paths, by default since `main`.

Tests mirror the code path for path, so a file's tests are found by its name; where it has none of its own, its room's are taken.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ALWAYS: Final = "tests/walls.py"

# What has no mirror in tests/: where it is tested.
ELSEWHERE: Final = (
    (r"templates/([^/]+)/", r"tests/app/\1"),
    (r"templates/|static/", "tests/journeys"),
    (r"migrations/", "tests/app/**/test_upgrade.py"),
    (r"locales/", "tests/app/**/test_translations.py"),
    (r"requirements.*\.txt$|constraints\.txt$|pyproject\.toml$|setup\.py$", "tests/test_*.py"),
    (r".*\.(md|svg|png)$|\.|Makefile$", "tests/docs"),
)


def changed(since: str) -> list[str]:
    """Paths that differ from where this branch left `since`, committed or not."""
    base = _git("merge-base", since, "HEAD") or ["HEAD"]
    return sorted({*_git("diff", "--name-only", *base), *_git("ls-files", "--others", "--exclude-standard")})


def _git(*arguments: str) -> list[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()


def to_run(paths: Iterable[str], root: Path = ROOT) -> list[str]:
    """The test files and folders to run, none inside another; the walls always."""
    found = {path for changed_path in paths for path in _tests_of(changed_path, root)} | {ALWAYS}
    return sorted(path for path in found if not any(path.startswith(f"{other}/") for other in found))


def _tests_of(path: str, root: Path) -> Iterator[str]:
    if path.startswith("tests/"):
        yield from _own(Path(path), root)
    elif path.startswith(("app/", "trainer/", "bench/", "bin/")):
        yield from _own(Path("tests", path).with_name(f"test_{Path(path).stem}.py"), root)
    else:
        yield from _listed(path, root)


def _own(test: Path, root: Path) -> Iterator[str]:
    """That file of tests; where there is none, or it is what other tests share, the nearest folder that holds it."""
    if test.name.startswith("test_") and (root / test).is_file():
        yield str(test)
        return
    nearest = next(folder for folder in test.parents if (root / folder).is_dir())
    if nearest != Path("tests"):
        yield str(nearest)


def _listed(path: str, root: Path) -> Iterator[str]:
    for pattern, place in ELSEWHERE:
        found = re.match(pattern, path)
        if found:
            tests = sorted(str(test.relative_to(root)) for test in root.glob(found.expand(place)))
            if tests:
                yield from tests
                return


if __name__ == "__main__":
    print(*to_run(changed(sys.argv[1] if len(sys.argv) > 1 else "main")))
